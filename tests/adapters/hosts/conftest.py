"""Small models of transformers' own classes with random weights, and what to call them with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor, nn

TEXT = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
TEXT |= {"intermediate_size": 24, "max_position_embeddings": 32}
PICTURES = {"image_size": 8, "patch_size": 4, "hidden_size": 16, "num_hidden_layers": 2}
PICTURES |= {"num_attention_heads": 4, "intermediate_size": 24}
# A decoder as most language models have it: fewer key and value heads than query heads.
GROUPED = {**TEXT, "num_key_value_heads": 2, "head_dim": 4}


def _pictures() -> dict[str, Tensor]:
    return {"pixel_values": torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))}


def _words() -> dict[str, Tensor]:
    """Two sentences, the second of them padded."""
    ids = torch.randint(3, 40, (2, 7), generator=torch.Generator().manual_seed(2))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def _pairs() -> dict[str, Tensor]:
    return {**_words(), "decoder_input_ids": _words()["input_ids"].flip(0)[:, :5]}


def _captioned() -> dict[str, Tensor]:
    return {**_words(), **_pictures()}


@dataclass(frozen=True)
class Kind:
    """`build` makes the model, `inputs` what it is called with, `layers` how many attention layers it has."""

    build: Callable[[], nn.Module]
    inputs: Callable[[], dict[str, Tensor]]
    layers: int


def _clip() -> nn.Module:
    config = hf.CLIPConfig(text_config={**TEXT, "eos_token_id": 2}, vision_config=PICTURES, projection_dim=8)
    return hf.CLIPModel(config)


def _bart() -> nn.Module:
    ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
    sizes: dict[str, Any] = {f"{part}_layers": 2 for part in ("encoder", "decoder")}
    sizes |= {f"{part}_attention_heads": 4 for part in ("encoder", "decoder")}
    sizes |= {f"{part}_ffn_dim": 24 for part in ("encoder", "decoder")}
    return hf.BartModel(hf.BartConfig(vocab_size=40, d_model=16, max_position_embeddings=32, **sizes, **ends))


KINDS = {
    "vit": Kind(lambda: hf.ViTModel(hf.ViTConfig(**PICTURES)), _pictures, 2),
    "dinov2": Kind(
        lambda: hf.Dinov2Model(hf.Dinov2Config(**{**PICTURES, "layerscale_value": 1.0})), _pictures, 2
    ),
    "clip": Kind(_clip, _captioned, 4),
    "bert": Kind(lambda: hf.BertModel(hf.BertConfig(**TEXT)), _words, 2),
    "bart": Kind(_bart, _pairs, 6),
    "gpt2": Kind(
        lambda: hf.GPT2Model(hf.GPT2Config(vocab_size=40, n_positions=32, n_embd=16, n_layer=2, n_head=4)),
        _words,
        2,
    ),
    "llama, grouped queries": Kind(lambda: hf.LlamaModel(hf.LlamaConfig(**GROUPED)), _words, 2),
    "mistral, sliding window": Kind(
        lambda: hf.MistralModel(hf.MistralConfig(**GROUPED, sliding_window=3)), _words, 2
    ),
    "albert, shared layers": Kind(
        lambda: hf.AlbertModel(hf.AlbertConfig(**TEXT, embedding_size=8)), _words, 1
    ),
    "t5, learned bias": Kind(
        lambda: hf.T5Model(
            hf.T5Config(vocab_size=40, d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4)
        ),
        _pairs,
        6,
    ),
}


def built(name: str, attention: str) -> nn.Module:
    """The model of this kind, its weights drawn anew and larger than a start has them, in double precision."""
    torch.manual_seed(0)
    model = KINDS[name].build().double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    attend_by(model, attention)
    return model


def attend_by(model: nn.Module, attention: str) -> None:
    """Have every part attend so; transformers 5.17's own setter does not reach the two halves of a T5."""
    for module in model.modules():
        if hasattr(module, "config"):
            module.config._attn_implementation = attention


def called(model: nn.Module, name: str) -> Tensor:
    """All hidden states that the model returns, one after the other."""
    inputs = {key: v.double() if v.is_floating_point() else v for key, v in KINDS[name].inputs().items()}
    output = model(**inputs)
    found = [getattr(output, key, None) for key in ("last_hidden_state", "image_embeds", "text_embeds")]
    return torch.cat([each.flatten() for each in found if each is not None])


@pytest.fixture
def shaken() -> Callable[[dict[str, Any]], None]:
    """Gives coefficients values that no training would: every map weighs in everywhere."""

    def shake(coefficients: dict[str, Any]) -> None:
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for each in coefficients.values():
                each.alpha.copy_(torch.randn(each.alpha.shape, generator=generator, dtype=each.alpha.dtype))

    return shake
