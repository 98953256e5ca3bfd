"""A layer with what was learned in its weight, which takes the place of the layer and its adapter."""

from __future__ import annotations

import pytest
import torch

from coeffdream.adapters.install import install, spec_for
from coeffdream.adapters.lora import compute_in_base_dtype
from coeffdream.adapters.merged import merged
from coeffdream.config import TrainConfig
from coeffdream.errors import AdapterError

OPTIONS = {"oft": ["oft_block_size=4"]}


def learned(unet, teach, method: str):
    config = TrainConfig(method=method, method_option=OPTIONS.get(method, []))
    return teach(install(unet, spec_for(config, unet)))


@pytest.mark.parametrize("scale", [1.0, 0.4])
@pytest.mark.parametrize("method", ["lora", "dora", "full", "bitfit", "loha", "oft"])
def test_it_computes_what_the_layer_does(unet, teach, method, scale):
    """Weights, biases and magnitudes, at the strength that is set; the layer itself stays as it was."""
    adapter = learned(unet, teach, method)
    if scale == 1 or method != "oft":  # which has no scale
        adapter.set_scales(lora=scale)
    before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    with torch.no_grad():
        for path in adapter.spec.modules:
            layer, plain = unet.get_submodule(path), merged(adapter, path)
            x = torch.randn(3, 5, plain.in_features)
            torch.testing.assert_close(plain(x), layer(x), rtol=1e-5, atol=1e-5)
            assert not torch.allclose(plain(x), layer.get_base_layer()(x), atol=1e-3)
            assert type(plain) is torch.nn.Linear
            assert plain is not layer.get_base_layer()
    assert unet.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in unet.state_dict().items())


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_beside_a_base_in_half_precision_it_is_float32(unet, teach, method):
    """Nothing is rounded on the way, also where the LoRA multiplies in the base's dtype."""
    unet.to(torch.bfloat16)
    adapter = learned(unet, teach, method)
    compute_in_base_dtype(adapter)
    path = adapter.spec.lora[0]
    weight, parts = unet.get_submodule(path).base_layer.weight.float(), adapter.lora
    wanted = weight + parts[f"{path}.lora_B.weight"] @ parts[f"{path}.lora_A.weight"]
    if method == "dora":
        wanted *= (parts[f"{path}.lora_magnitude_vector"] / wanted.norm(dim=1))[:, None]
    torch.testing.assert_close(merged(adapter, path).weight, wanted, rtol=1e-5, atol=1e-6, check_dtype=True)


@pytest.mark.parametrize(
    ("method", "said"),
    [("lily", "PEFT cannot merge lily"), ("ln_tuning", "puts layers of its own")],
)
def test_what_cannot_be_merged_is_refused(unet, teach, method, said):
    adapter = learned(unet, teach, method)
    with pytest.raises(AdapterError, match=said):
        merged(adapter, adapter.spec.modules[0])


def test_a_merge_that_is_another_layer_is_refused(unet, teach, monkeypatch):
    """What PEFT merges is held against what it computes: it has left things out with a warning."""
    adapter = learned(unet, teach, "lora")
    path = adapter.spec.lora[0]
    monkeypatch.setattr(type(unet.get_submodule(path)), "merge", lambda self, safe_merge: None)
    with pytest.raises(AdapterError, match="something else than it computes"):
        merged(adapter, path)
