"""Attention with mixed heads under the contract of transformers' attention functions.

The model's own function computes what it always did, and the coefficients' part is added: linear in the mixing
matrix, this is Eq. 9-11 of arXiv 2503.18337, and alpha = 0 is the untouched model to the last bit.

Shape letters: B batch, H heads, N queries, M keys, d head dim.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from coeffdream.adapters.hosts.registry import EAGER, REGISTRY, attention_names
from coeffdream.attention import mixed_attention
from coeffdream.errors import AttentionError

if TYPE_CHECKING:
    from coeffdream.adapters.coefficients import SubspaceCoefficients

ATTRIBUTE = "subspace_coefficients"
NAMES = {"sdpa": "coeffdream_sdpa", "eager": "coeffdream_eager"}


def register() -> None:
    """Make both functions known to transformers, each with the masks of the one whose place it takes.

    A name without its mask function would get no mask at all, and a causal model would see the future.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    for own, function in (("sdpa", attention_by_sdpa), ("eager", attention_by_maps)):
        AttentionInterface.register(NAMES[own], function)
        AttentionMaskInterface.register(NAMES[own], ALL_MASK_ATTENTION_FUNCTIONS[own])


def attention_by_sdpa(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """query [B,H,N,d], key and value [B,H or fewer,M,d] -> [B,N,H,d]; no map is kept.

    What needs the maps themselves (attention dropout, a learned bias, a value of other width) takes them from
    the model's eager function.
    """
    _refuse_paged(module, kwargs)
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    causal = bool(causal) and attention_mask is None and query.shape[2] > 1
    if dropout > 0:
        mask = additive(attention_mask, query, key, causal=causal)
        return attention_by_maps(module, query, key, value, mask, dropout, scaling, **kwargs)[0], None
    own = (attention_names(module) or {})[REGISTRY].get_interface("sdpa", None)
    base, _ = own(
        module, query, key, value, attention_mask, dropout=0.0, scaling=scaling, is_causal=is_causal, **kwargs
    )
    coefficients = _coefficients(module, query)
    learned_mask = attention_mask is not None and attention_mask.requires_grad
    if kwargs.get("position_bias") is not None or learned_mask or value.shape[-1] != query.shape[-1]:
        mask = additive(attention_mask, query, key, causal=causal)
        _, maps = _own_maps(module, query, key, value, mask, 0.0, scaling, kwargs)
        added = mixed_maps(coefficients, maps) @ _for_each_head(value, query)
    else:
        if causal:
            attention_mask = earlier(query, key)
        added = mixed_attention(
            query,
            _for_each_head(key, query),
            _for_each_head(value, query),
            beside(coefficients(), query),
            attn_mask=attention_mask,
            scale=scaling,
        )
    added = added.transpose(1, 2)
    return (base + added if coefficients.residual else added.contiguous()), None


def attention_by_maps(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor]:
    """The same from the maps that the model's own eager function returns, after everything it does to them.

    Also returns the mixed maps [B,H,N,M].
    """
    _refuse_paged(module, kwargs)
    base, maps = _own_maps(module, query, key, value, attention_mask, dropout, scaling, kwargs)
    coefficients = _coefficients(module, query)
    mixed = mixed_maps(coefficients, maps)
    added = (mixed @ _for_each_head(value, query)).transpose(1, 2)
    if coefficients.residual:
        return base + added, maps + mixed
    return added.contiguous(), mixed


def _own_maps(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    dropout: float,
    scaling: float | None,
    kwargs: dict[str, Any],
) -> tuple[Tensor, Tensor]:
    """Output [B,N,H,d] and maps [B,H,N,M] of the model's own eager function."""
    own = (attention_names(module) or {})[EAGER]
    output, maps = own(module, query, key, value, mask, dropout=dropout, scaling=scaling, **kwargs)
    return output, maps


def mixed_maps(coefficients: SubspaceCoefficients, maps: Tensor) -> Tensor:
    """What the coefficients add to the maps. alpha is never rounded to half precision, only the result is."""
    mixing = coefficients()
    return torch.einsum("hi,binm->bhnm", mixing, maps.to(mixing.dtype)).to(maps.dtype)


def _coefficients(module: nn.Module, query: Tensor) -> SubspaceCoefficients:
    """The layer's coefficients. Raises AttentionError where they are not for this many heads."""
    coefficients: SubspaceCoefficients = getattr(module, ATTRIBUTE)
    if query.shape[1] != coefficients.heads:
        raise AttentionError(
            f"{type(module).__name__} attends with {query.shape[1]} heads where it said {coefficients.heads}; leave it "
            "out with layers="
        )
    return coefficients


def _refuse_paged(module: nn.Module, kwargs: dict[str, Any]) -> None:
    if kwargs.get("cache") is not None:
        raise AttentionError(
            f"{type(module).__name__} was given a paged cache (continuous batching), which mixed heads do not serve; "
            "call model.generate instead"
        )


def _for_each_head(each: Tensor, query: Tensor) -> Tensor:
    """Grouped-query attention: a key or value for every head of query. [B,G,M,d] -> [B,H,M,d]."""
    return each.repeat_interleave(query.shape[1] // each.shape[1], dim=1)


def beside(mixing: Tensor, query: Tensor) -> Tensor:
    """alpha in float32 beside half precision, else in query's dtype."""
    return mixing.float() if query.dtype.itemsize == 2 else mixing.to(query.dtype)


def earlier(query: Tensor, key: Tensor) -> Tensor:
    """[N, M], True where a key is no later than the query: what SDPA's `is_causal` means."""
    return torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device).tril()


def additive(mask: Tensor | None, query: Tensor, key: Tensor, *, causal: bool) -> Tensor | None:
    """A mask made for SDPA as an eager function adds it: 0, or the dtype's least number."""
    if causal:
        mask = earlier(query, key)[None, None]
    if mask is None or mask.dtype != torch.bool:
        return mask
    least = torch.finfo(query.dtype).min
    return torch.zeros(mask.shape, dtype=query.dtype, device=mask.device).masked_fill(~mask, least)
