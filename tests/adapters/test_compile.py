"""torch.compile over a UNet with adapters in it: one graph, the same numbers."""

from __future__ import annotations

import shutil

import pytest
import torch

from coeffdream.adapters.install import install, spec_for
from coeffdream.attention.checkpointing import checkpoint_keeping_attention
from coeffdream.config import TrainConfig

NEEDS_GXX = pytest.mark.skipif(
    shutil.which("g++") is None, reason="torch's default compiler needs g++ on a CPU"
)


def test_one_layer_compiles_whole_forward_and_backward(unet, teach, predict):
    """No graph break in the processor, so torch.compile keeps what it gains elsewhere."""
    adapter = teach(install(unet, spec_for(TrainConfig(method="coeff-lora"), unet)))
    path = adapter.spec.alpha[1]
    layer = unet.get_submodule(path)
    states = torch.randn(2, 16, 32, generator=torch.Generator().manual_seed(0))
    text = torch.randn(2, 77, 32, generator=torch.Generator().manual_seed(1))
    results = []
    for call in (layer, torch.compile(layer, backend="aot_eager", fullgraph=True)):
        adapter.alpha[path].grad = None
        out = call(states, encoder_hidden_states=text)
        out.square().sum().backward()
        results.append((out.detach(), adapter.alpha[path].grad.clone()))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_compiled_unet_draws_the_same(unet, teach, predict):
    """The whole miniature in one graph, LoRA and coefficients in it; what a backend makes of it is seen below."""
    teach(install(unet, spec_for(TrainConfig(method="coeff-lora"), unet)))
    eager = predict(unet)
    compiled = torch.compile(unet, backend="eager", fullgraph=True)
    torch.testing.assert_close(predict(compiled), eager, rtol=1e-4, atol=1e-5)


# What dynamo says of inputs that are not leaves, whoever's they are.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize(
    "compile_it",
    [
        pytest.param(
            lambda unet: unet.compile_repeated_blocks(fullgraph=True), id="blocks-inductor", marks=NEEDS_GXX
        ),
        pytest.param(
            lambda unet: unet.compile(backend="aot_eager"), id="whole-aot_eager", marks=pytest.mark.slow
        ),
    ],
)
def test_gradients_under_checkpointing_are_those_without_either(unet, teach, predict, compile_it):
    """Compiled code overwrites buffers; what checkpointing keeps of the attention must not be among them."""
    adapter = teach(install(unet, spec_for(TrainConfig(method="coeff-lora", coeff_dropout=0), unet)))
    unet.train()

    def gradients() -> dict[str, torch.Tensor]:
        predict(unet).square().mean().backward()
        taken = {name: parameter.grad for name, parameter in adapter.trainable.items()}
        for parameter in adapter.trainable.values():
            parameter.grad = None
        return taken

    torch.compiler.reset()
    expected = gradients()
    unet.enable_gradient_checkpointing(checkpoint_keeping_attention)
    compile_it(unet)
    for name, got in gradients().items():
        torch.testing.assert_close(
            got, expected[name], rtol=1e-3, atol=1e-6, msg=lambda m, name=name: f"{name}: {m}"
        )
    torch.compiler.reset()
