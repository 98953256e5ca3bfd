"""In and out again: an adapter starts as the base, trains what it says, and leaves no trace."""

from __future__ import annotations

import copy
from typing import get_args

import pytest
import torch

from coeffdream.adapters.install import AdapterSpec, install, spec_for
from coeffdream.adapters.layers import attention_layers
from coeffdream.adapters.other import EVERYWHERE
from coeffdream.config import Method, TrainConfig
from coeffdream.errors import AdapterError, AttentionError

METHODS = get_args(Method)
HALF = [torch.float16, torch.bfloat16]


def installed(unet, method: str, **options):
    options = {"lora_targets": EVERYWHERE, **options}
    return install(unet, spec_for(TrainConfig(method=method, **options), unet), seed=5)


@pytest.mark.parametrize("dtype", [torch.float32, *HALF], ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_step_0_is_the_base_to_the_last_bit(unet, predict, method, dtype):
    """Training starts from the untouched model: not nearly, exactly, in every precision, dropout or not."""
    unet.to(dtype)
    with torch.no_grad():
        base = predict(unet)
        adapter = installed(unet, method)
        for training in (False, True):
            unet.train(training)
            adapter.set_masks(adapter.drawn_masks(0, 0))
            assert torch.equal(predict(unet), base)


@pytest.mark.parametrize("method", METHODS)
def test_the_adapter_is_in_the_path(unet, predict, teach, method):
    """The equality above would mean nothing if what is learned were not heard."""
    with torch.no_grad():
        base = predict(unet)
        teach(installed(unet, method))
        assert (predict(unet) - base).abs().max() > 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_uninstall_restores_bit_for_bit(unet, predict, teach, method, dtype):
    """Weights, names, modules, processors, what wants gradients, and the output."""
    unet.to(dtype)
    unet.conv_in.requires_grad_(True)
    with torch.no_grad():
        output = predict(unet)
    state = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    modules = {name: type(module) for name, module in unet.named_modules()}
    processors = dict(unet.attn_processors)
    wanted = {name: parameter.requires_grad for name, parameter in unet.named_parameters()}

    adapter = teach(installed(unet, method))
    predict(unet).sum().backward()
    adapter.set_scales(lora=0.5, alpha=0.5)
    adapter.uninstall()

    after = unet.state_dict()
    assert list(after) == list(state)
    assert all(
        torch.equal(after[name], tensor) and after[name].dtype == dtype for name, tensor in state.items()
    )
    assert {name: type(module) for name, module in unet.named_modules()} == modules
    assert all(unet.attn_processors[name] is processor for name, processor in processors.items())
    assert {name: p.requires_grad for name, p in unet.named_parameters()} == wanted
    assert not getattr(unet, "peft_config", None)
    with torch.no_grad():
        assert torch.equal(predict(unet), output)


def test_a_unet_can_be_adapted_again_after_uninstall(unet, predict):
    """`params` installs all five methods in turn on one UNet."""
    first = installed(unet, "coeff-dora")
    names = list(first.trainable)
    first.uninstall()
    assert list(installed(unet, "coeff-dora").trainable) == names


@pytest.mark.parametrize("method", METHODS)
def test_exactly_the_trainables_want_gradients_and_get_them(unet, predict, teach, method):
    """One explicit list: nothing of the base trains along, nothing of the adapter stays behind."""
    adapter = teach(installed(unet, method))
    wanting = {id(parameter) for parameter in unet.parameters() if parameter.requires_grad}
    assert wanting == {id(parameter) for parameter in adapter.trainable.values()}
    predict(unet).square().sum().backward()
    for name, parameter in adapter.trainable.items():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert all(p.grad is None for p in unet.parameters() if not p.requires_grad)


def test_a_base_that_was_not_frozen_is(unet):
    """Without a LoRA there is no PEFT that would freeze it."""
    unet.requires_grad_(True)
    adapter = installed(unet, "coeff")
    wanted = {id(parameter) for parameter in unet.parameters() if parameter.requires_grad}
    assert wanted == {id(parameter) for parameter in adapter.trainable.values()}
    adapter.uninstall()
    assert all(parameter.requires_grad for parameter in unet.parameters())


def test_the_methods_train_what_their_names_say(unet):
    """And name each parameter by its module path in the UNet."""
    kinds = {
        method: {
            name.rsplit(".", 2)[-2] if name.endswith("weight") else name.rsplit(".", 1)[-1] for name in names
        }
        for method in METHODS
        for names in [list(_names(unet, method))]
    }
    assert kinds == {
        "lora": {"lora_A", "lora_B"},
        "dora": {"lora_A", "lora_B", "lora_magnitude_vector"},
        "coeff": {"alpha"},
        "coeff-lora": {"lora_A", "lora_B", "alpha"},
        "coeff-dora": {"lora_A", "lora_B", "lora_magnitude_vector", "alpha"},
    }


def _names(unet, method):
    adapter = installed(unet, method)
    names = list(adapter.trainable)
    adapter.uninstall()
    return names


def test_the_paper_preset_is_q_and_v_of_cross_and_alpha_everywhere(unet):
    """What the default command line trains."""
    adapter = install(unet, spec_for(TrainConfig(), unet))
    layers = attention_layers(unet)
    assert set(adapter.spec.alpha) == {layer.path for layer in layers}
    assert set(adapter.spec.lora) == {
        f"{layer.path}.{name}" for layer in layers if layer.kind == "cross" for name in ("to_q", "to_v")
    }
    assert all(p.shape[0] == 2 for name, p in adapter.lora.items() if "lora_A" in name)


def test_every_option_of_the_adapter_reaches_it(unet):
    """What run.json says was trained is what was installed."""
    config = TrainConfig(
        method="coeff-dora",
        rank=5,
        lora_targets="self.k",
        alpha_on="cross",
        alpha_layers="mid_block",
        coeff_dropout=0.25,
        parametrisation="direct-identity",
    )
    adapter = install(unet, spec_for(config, unet))
    [(path, processor)] = adapter.processors.items()
    assert path.startswith("mid_block")
    assert path.endswith("attn2")
    assert (processor.coefficients.dropout, processor.coefficients.parametrisation) == (
        0.25,
        "direct-identity",
    )
    assert all(module.endswith("attn1.to_k") for module in adapter.spec.lora)
    assert all(adapter.lora[f"{module}.lora_A.weight"].shape[0] == 5 for module in adapter.spec.lora)
    assert all(f"{module}.lora_magnitude_vector" in adapter.lora for module in adapter.spec.lora)
    assert (adapter.spec.rank, adapter.spec.dora, adapter.spec.dropout) == (5, True, 0.25)


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_adapter_parameters_are_float32_on_any_base(unet, teach, predict, dtype):
    """Adam's updates at 3e-4 are below half precision's resolution; PEFT would follow the base's dtype."""
    unet.to(dtype)
    adapter = teach(installed(unet, "coeff-dora"))
    assert {parameter.dtype for parameter in adapter.trainable.values()} == {torch.float32}
    output = predict(unet)
    assert output.dtype == dtype
    output.float().sum().backward()
    assert {parameter.grad.dtype for parameter in adapter.trainable.values()} == {torch.float32}


@pytest.mark.parametrize("method", METHODS)
def test_scale_0_is_the_base_and_scale_1_what_was_learned(unet, predict, teach, method):
    """DoRA too, whose magnitude PEFT's own scale leaves in place."""
    with torch.no_grad():
        base = predict(unet)
        adapter = teach(installed(unet, method))
        learned = predict(unet)
        adapter.set_scales(lora=0.0, alpha=0.0)
        assert torch.equal(predict(unet), base)
        adapter.set_scales(lora=0.5, alpha=0.5)
        half = predict(unet)
        assert not torch.equal(half, base)
        assert not torch.equal(half, learned)
        adapter.set_scales()
        assert torch.equal(predict(unet), learned)


def test_each_scale_moves_its_own_half(unet, predict, teach):
    """--lora-scale leaves alpha alone, --alpha-scale the LoRA."""
    lora_only = copy.deepcopy(unet)
    with torch.no_grad():
        adapter = teach(installed(unet, "coeff-lora"))
        alone = installed(lora_only, "lora")
        for name, parameter in alone.lora.items():
            parameter.copy_(adapter.lora[name])
        adapter.set_scales(alpha=0.0)
        assert torch.equal(predict(unet), predict(lora_only))


@pytest.mark.parametrize("method", METHODS)
def test_a_second_adapter_is_refused(unet, predict, method):
    """Two at once would train and save each other."""
    adapter = installed(unet, method)
    with pytest.raises(AdapterError, match="already carries an adapter; uninstall"):
        install(unet, adapter.spec)
    adapter.check_installed()


@pytest.mark.parametrize(
    "spec",
    [
        AdapterSpec(lora=("down_blocks.7.to_q",)),
        AdapterSpec(lora=("mid_block",)),
        AdapterSpec(alpha=("down_blocks.7.attn1",)),
        AdapterSpec(alpha=("conv_in",)),
    ],
)
def test_a_spec_of_another_unet_is_refused_before_anything_changes(unet, predict, spec):
    """Absent modules and modules of another kind alike."""
    state = list(unet.state_dict())
    with pytest.raises(AdapterError, match=f"no fitting {(*spec.lora, *spec.alpha)[0]}, .* another base"):
        install(unet, spec)
    assert list(unet.state_dict()) == state


def test_a_replaced_processor_is_noticed(unet):
    """diffusers replaces it with no more than a log line, and the coefficients would be saved untrained."""
    from diffusers.models.attention_processor import AttnProcessor2_0

    adapter = installed(unet, "coeff")
    adapter.check_installed()
    path = adapter.spec.alpha[2]
    unet.get_submodule(path).set_processor(AttnProcessor2_0())
    with pytest.raises(AdapterError, match=f"{path} now has a AttnProcessor2_0 instead") as caught:
        adapter.check_installed()
    assert "\n" not in str(caught.value)


def test_a_unet_that_mixing_cannot_serve_is_refused_before_anything_changes(unet):
    """Loading an adapter goes past spec_for, so install looks itself."""
    spec = spec_for(TrainConfig(), unet)
    unet.fuse_qkv_projections()
    state = list(unet.state_dict())
    with pytest.raises(AttentionError, match="fused"):
        install(unet, spec)
    assert list(unet.state_dict()) == state
