"""timm's vision transformers as hosts: every layer that is exactly its `Attention`.

Shape letters: B batch, H heads, N tokens, d head dim, C channels.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

from torch import Tensor, nn

from coeffdream.adapters.coefficients import SubspaceCoefficients
from coeffdream.adapters.hosts.mixing import ATTRIBUTE, additive, beside, earlier, mixed_maps
from coeffdream.attention import mixed_attention


def is_attention(module: nn.Module) -> bool:
    # A model that has such a layer has loaded this file of timm; without it nothing need be imported.
    of_timm = sys.modules.get("timm.layers.attention")
    return of_timm is not None and type(module) in (of_timm.Attention, _mixing(of_timm.Attention))


def is_cross(path: str, module: Any) -> bool:
    return False


def sizes(path: str, module: Any) -> tuple[int, int]:
    """Heads, and the width of one."""
    return module.num_heads, module.head_dim


def refusal(module: Any) -> tuple[str, str] | None:
    """Nothing that the class computes is beyond mixing."""
    return None


def attach(module: Any, coefficients: SubspaceCoefficients) -> Any:
    """Have the layer mix its heads: it becomes one of a class with another forward. What `detach` needs."""
    before: Any = type(module)
    module.__class__ = _mixing(before)
    setattr(module, ATTRIBUTE, coefficients)
    return before


def detach(module: Any, before: Any) -> None:
    module.__class__ = before
    delattr(module, ATTRIBUTE)


def coefficients_in(module: Any) -> SubspaceCoefficients | None:
    return getattr(module, ATTRIBUTE, None)


@functools.cache
def _mixing(attention: Any) -> Any:
    """timm's Attention with mixed heads, and its name."""
    return type(attention.__name__, (attention,), {"forward": _forward})


def _forward(self: Any, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
    """x [B,N,C] -> [B,N,C]: the forward of timm 1.0's Attention, in which maps are mixed."""
    coefficients = getattr(self, ATTRIBUTE)
    qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
    query, key, value = self.q_norm(qkv[0]), self.k_norm(qkv[1]), qkv[2]
    if is_causal:
        attn_mask = earlier(query, key)
    if self.fused_attn and not (self.training and self.attn_drop.p):
        mixed = mixed_attention(
            query,
            key,
            value,
            beside(coefficients(), query),
            attn_mask=attn_mask,
            residual=coefficients.residual,
        )
    else:
        logits = query * self.scale @ key.mT
        mask = additive(attn_mask, query, key, causal=False)
        maps = self.attn_drop((logits if mask is None else logits + mask).softmax(-1))
        mixed = mixed_maps(coefficients, maps) @ value
        if coefficients.residual:
            mixed = maps @ value + mixed
    output = getattr(self, "norm", nn.Identity())(mixed.transpose(1, 2).flatten(2).to(query.dtype))
    gate = getattr(self, "gate", None)
    output = output if gate is None else output * gate(x).sigmoid()
    return self.proj_drop(self.proj(output))
