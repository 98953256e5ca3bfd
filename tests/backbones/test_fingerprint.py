"""Which adapter belongs to which base: the architecture exactly, the weights up to half precision."""

from __future__ import annotations

import copy

import pytest
import torch

from coeffdream.backbones.fingerprint import SKETCH_LENGTH, architecture_of, sketch_of
from coeffdream.records.base import same_weights


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_precision_changes_neither(components, dtype):
    """One trains in bfloat16 and draws in float32, or loads the fp16 variant."""
    half = copy.deepcopy(components.unet).to(dtype)
    assert architecture_of(half) == components.architecture
    assert same_weights(sketch_of(half), components.sketch)
    assert same_weights(components.sketch, sketch_of(half))


def test_other_weights_of_one_architecture_are_told_apart(components):
    """Fine-tunes of SDXL share its shapes: likeness may suffer, so the user is warned."""
    other = copy.deepcopy(components.unet)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    assert architecture_of(other) == components.architecture
    assert not same_weights(sketch_of(other), components.sketch)


def test_another_shape_or_name_is_another_architecture(components):
    """An adapter's keys would fit the one and not the other."""
    other = copy.deepcopy(components.unet)
    other.conv_out = torch.nn.Conv2d(16, 5, 3)
    assert architecture_of(other) != components.architecture
    renamed = copy.deepcopy(components.unet)
    renamed.conv_last = renamed.conv_out
    del renamed.conv_out
    assert architecture_of(renamed) != components.architecture


def test_a_sketch_is_short_and_json(components):
    """It goes into run.json."""
    assert len(components.sketch) == SKETCH_LENGTH
    assert all(type(value) is float for value in components.sketch)


def test_sketches_of_different_length_differ():
    """Instead of being compared as far as they go."""
    assert not same_weights([1.0], [1.0, 2.0])
    assert same_weights([], [])
