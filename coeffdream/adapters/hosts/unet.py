"""diffusers' UNets as hosts: what their attention layers are, and which of them can mix their heads."""

from __future__ import annotations

import sys
from typing import Any

from coeffdream.adapters.coefficients import SubspaceCoefficients
from coeffdream.adapters.processor import CoefficientProcessor

# Processors that compute plain softmax attention over heads, so that mixing can take their place.
SERVED = ("AttnProcessor", "AttnProcessor2_0", "XFormersAttnProcessor", "SlicedAttnProcessor")


def is_attention(module: Any) -> bool:
    # A model that has such a layer has loaded this file of diffusers; without it nothing need be imported.
    of_diffusers = sys.modules.get("diffusers.models.attention_processor")
    return of_diffusers is not None and isinstance(module, of_diffusers.Attention)


def is_cross(path: str, module: Any) -> bool:
    return bool(module.is_cross_attention)


def sizes(path: str, module: Any) -> tuple[int, int]:
    """Heads, and the width of one."""
    return module.heads, module.inner_dim // module.heads


def refusal(module: Any) -> tuple[str, str] | None:
    """Why mixing its heads cannot take the place of what the layer computes, and what would mend that ("" for nothing)."""
    processor = type(module.processor).__name__
    reasons = [
        (module.added_kv_proj_dim is not None, "it has added key and value projections", ""),
        # The flag module.fused_projections stays set when diffusers unfuses; the processor tells.
        ("Fused" in processor, "its projections are fused", "call unfuse_qkv_projections() first"),
        (
            module.inner_kv_dim != module.inner_dim,
            "its key and value heads are fewer than its query heads",
            "",
        ),
        (module.is_causal, "it is causal", ""),
        (
            processor not in SERVED,
            f"its processor is {processor}, none of {', '.join(SERVED)}",
            "remove what replaced it (an IP-Adapter, say)",
        ),
    ]
    return next(((reason, mend) for refused, reason, mend in reasons if refused), None)


def attach(module: Any, coefficients: SubspaceCoefficients) -> Any:
    """Have the layer mix its heads; what `detach` needs."""
    before = module.processor
    module.set_processor(CoefficientProcessor(coefficients).train(module.training))
    return before


def detach(module: Any, before: Any) -> None:
    module.set_processor(before)


def coefficients_in(module: Any) -> SubspaceCoefficients | None:
    processor = module.processor
    return processor.coefficients if isinstance(processor, CoefficientProcessor) else None
