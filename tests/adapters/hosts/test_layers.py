"""Which layers of a model are found, what they are called, and what is refused by name."""

from __future__ import annotations

import pytest
import transformers as hf
from torch import nn

from coeffdream import add_coefficients, coefficients_of, remove_coefficients
from coeffdream.adapters.layers import attention_layers
from coeffdream.errors import AdapterError, AttentionError, ConfigError

from .conftest import KINDS, TEXT, built


def test_bart_has_its_three_kinds_of_attention() -> None:
    kinds = {layer.path: (layer.kind, layer.heads) for layer in attention_layers(built("bart", "sdpa"))}
    assert kinds == {
        **{f"encoder.layers.{n}.self_attn": ("self", 4) for n in range(2)},
        **{f"decoder.layers.{n}.self_attn": ("self", 4) for n in range(2)},
        **{f"decoder.layers.{n}.encoder_attn": ("cross", 4) for n in range(2)},
    }


def test_cross_attention_of_bert_and_t5_is_known_as_such() -> None:
    bert = hf.BertModel(hf.BertConfig(**TEXT, is_decoder=True, add_cross_attention=True))
    for model in (bert, built("t5, learned bias", "sdpa")):
        assert [layer.kind for layer in attention_layers(model)].count("cross") == 2


def test_paper_counts_of_coefficients() -> None:
    """Tables 1 and 4 of arXiv 2503.18337: 1,728 in ViT-B/16, 2.6K in BART-base; layers without weights."""
    import torch

    with torch.device("meta"):
        vit, bart = hf.ViTModel(hf.ViTConfig()), hf.BartModel(hf.BartConfig(**BART_BASE))
    assert sum(layer.heads**2 for layer in attention_layers(vit)) == 1728
    assert len(attention_layers(bart)) == 18
    assert sum(layer.heads**2 for layer in attention_layers(bart)) == 2592


BART_BASE = {
    "d_model": 768,
    **{f"{part}_layers": 6 for part in ("encoder", "decoder")},
    **{f"{part}_attention_heads": 12 for part in ("encoder", "decoder")},
}


@pytest.mark.parametrize(
    ("layers", "count"), [("all", 6), ("self", 4), ("cross", 2), (r"^decoder\..*self_attn$", 2)]
)
def test_layers_are_chosen_by_kind_or_pattern(layers: str, count: int) -> None:
    model = built("bart", "sdpa")
    made = add_coefficients(model, layers=layers)
    assert len(made) == count
    assert coefficients_of(model) == made


def test_a_module_that_is_used_many_times_has_one_alpha() -> None:
    model = hf.AlbertModel(hf.AlbertConfig(**{**TEXT, "num_hidden_layers": 12}, embedding_size=8))
    assert len(add_coefficients(model)) == 1


def test_coefficients_are_parameters_of_the_model_and_nothing_is_frozen() -> None:
    model = built("vit", "sdpa")
    made = add_coefficients(model)
    parameters = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    assert {id(each.alpha) for each in made.values()} < parameters


@pytest.mark.parametrize("name", list(KINDS))
def test_removed_without_a_trace(name: str) -> None:
    model = built(name, "sdpa")
    before = {path: dict(vars(module)) for path, module in model.named_modules()}
    attributes = {path: set(module._modules) for path, module in model.named_modules()}
    add_coefficients(model)
    remove_coefficients(model)
    after = {path: dict(vars(module)) for path, module in model.named_modules()}
    assert {path: set(module._modules) for path, module in model.named_modules()} == attributes
    assert before.keys() == after.keys()
    for path, own in before.items():
        assert own.keys() == after[path].keys()
        assert own.get("config") is after[path].get("config")
    with pytest.raises(AdapterError, match="no coefficients to remove"):
        remove_coefficients(model)


def test_the_config_that_a_model_saves_is_its_own(tmp_path: object) -> None:
    model = built("vit", "sdpa")
    before = model.config.to_json_string()
    add_coefficients(model)
    assert model.config.to_json_string() == before


def test_twice_is_refused() -> None:
    model = built("vit", "sdpa")
    add_coefficients(model, layers=r"layers?\.0")
    with pytest.raises(
        AdapterError, match=r"already has coefficients; call remove_coefficients\(model\) first"
    ):
        add_coefficients(model, layers=r"layers?\.1")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"layers": "decoder"}, ConfigError, "'decoder' matches none of the 2 attention layers"),
        ({"layers": "("}, ConfigError, r"'\(' is no regular expression"),
        ({"dropout": 1.0}, ConfigError, "dropout=1.0 must be at least 0 and below 1"),
        ({"groups": 3}, ConfigError, "groups=3 does not divide the 4 heads of layers.0.attention"),
        ({"groups": 0}, ConfigError, "groups=0 does not divide"),
    ],
)
def test_bad_options_are_named(options: dict[str, object], error: type[Exception], message: str) -> None:
    model = built("vit", "sdpa")
    with pytest.raises(error, match=message):
        add_coefficients(model, **options)
    assert not coefficients_of(model)


def test_a_model_without_such_attention_is_refused() -> None:
    for model in (nn.TransformerEncoderLayer(8, 2), hf.ResNetModel(hf.ResNetConfig())):
        with pytest.raises(
            AttentionError, match=f"{type(model).__name__} has no attention layer whose heads"
        ):
            add_coefficients(model)


def test_an_attention_that_keeps_its_maps_to_itself_is_refused() -> None:
    model = built("vit", "sdpa")
    model.config._attn_implementation = "flex_attention"
    with pytest.raises(AttentionError, match="its attention is 'flex_attention'; load the model with"):
        add_coefficients(model)
    assert not coefficients_of(model)
