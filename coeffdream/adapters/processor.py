"""The diffusers attention processor that mixes the softmax maps of the heads.

Shape letters: B batch, H heads, N queries, M keys, d head dim, C channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from coeffdream.adapters.coefficients import SubspaceCoefficients
from coeffdream.attention import mixed_attention
from coeffdream.errors import AttentionError


class CoefficientProcessor(nn.Module):
    """Takes the place of diffusers' AttnProcessor2_0 in one attention layer; same contract, mixed heads.

    Residual coefficients are mixed beside the base's own attention: alpha = 0 is the untouched model to the last
    bit, in every dtype.
    """

    def __init__(self, coefficients: SubspaceCoefficients | None = None) -> None:
        super().__init__()
        if coefficients is None:  # diffusers makes a new one of our class when it loads an IP-Adapter
            raise AttentionError(
                "an IP-Adapter would replace the trained head mixing; take that out first: coeffdream.unload(pipe)"
            )
        self.coefficients = coefficients

    # diffusers reads the parameters of __call__ to decide which cross_attention_kwargs to pass on.
    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        """hidden_states [B, N, C] or [B, C, h, w]; encoder_hidden_states [B, M, C']; the same shape out."""
        if isinstance(encoder_hidden_states, tuple):
            raise AttentionError(
                "this attention layer was given image prompts (IP-Adapter) beside the text, which mixed heads do "
                "not serve; unload the IP-Adapter, or generate with --no-adapter"
            )
        residual = hidden_states
        if attn.spatial_norm is not None:
            hidden_states = attn.spatial_norm(hidden_states, temb)
        image_shape = hidden_states.shape if hidden_states.ndim == 4 else None
        if image_shape is not None:
            hidden_states = hidden_states.flatten(2).transpose(1, 2)

        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        batch, keys, _ = context.shape
        if attention_mask is not None:
            attention_mask = attn.prepare_attention_mask(attention_mask, keys, batch)
            attention_mask = attention_mask.view(batch, attn.heads, -1, attention_mask.shape[-1])
        if attn.group_norm is not None:
            hidden_states = attn.group_norm(hidden_states.transpose(1, 2)).transpose(1, 2)
        if encoder_hidden_states is None:
            context = hidden_states
        elif attn.norm_cross is not None:
            context = attn.norm_encoder_hidden_states(context)

        query, key, value = (
            projected.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for projected in (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context))
        )
        if attn.norm_q is not None:
            query = attn.norm_q(query)
        if attn.norm_k is not None:
            key = attn.norm_k(key)

        output = mixed_attention(
            query,
            key,
            value,
            self.coefficients(),
            attn_mask=attention_mask,
            residual=self.coefficients.residual,
        )
        output = output.transpose(1, 2).flatten(2).to(query.dtype)
        output = attn.to_out[1](attn.to_out[0](output))
        if image_shape is not None:
            output = output.transpose(-1, -2).reshape(image_shape)
        if attn.residual_connection:
            output = output + residual
        return output / attn.rescale_output_factor


@torch.no_grad()
def new_processor(
    heads: int,
    layer: int,
    *,
    dropout: float,
    parametrisation: Any,
    groups: int,
    seed: int,
    device: torch.device,
) -> CoefficientProcessor:
    """A processor with freshly initialised coefficients for attention layer number `layer`."""
    coefficients = SubspaceCoefficients(
        heads, dropout=dropout, parametrisation=parametrisation, groups=groups
    )
    coefficients.initialise(seed, layer)
    return CoefficientProcessor(coefficients).to(device)
