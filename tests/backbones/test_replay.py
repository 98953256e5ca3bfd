"""Work that is recorded on a card and replayed there: what it must give, and what it must leave alone."""

from __future__ import annotations

import gc
from types import SimpleNamespace

import pytest
import torch

from coeffdream.backbones.replay import RECORDINGS, Replayed, replaying

CUDA = torch.device("cuda")


def test_without_a_card_the_work_is_called():
    """Nothing is copied, kept or changed on the way."""
    given = {"x": torch.ones(2)}
    called = []
    replayed = Replayed(lambda tensors: called.append(tensors["x"]) or tensors["x"] + 1, torch.device("cpu"))
    assert torch.equal(replayed(given), torch.full((2,), 2.0))
    assert called == [given["x"]]
    assert not replayed.records


def test_a_unet_that_is_on_no_card_is_left_as_it_is():
    """The block neither wraps its forward nor leaves anything behind."""
    unet = torch.nn.Linear(1, 1)
    unet.device = torch.device("cpu")
    components = SimpleNamespace(unet=unet, offload="none")
    with replaying(components):
        assert "forward" not in vars(unet)


@pytest.mark.gpu
def test_gradients_are_added_as_without_a_recording():
    """Other inputs at each call; gradients add up over calls, in the tensors that the optimizer holds."""
    weight = torch.nn.Parameter(torch.randn(8, 8, device=CUDA))
    runs = []

    def work(given):
        runs.append(1)
        loss = (given["x"] @ weight).square().sum(1)
        loss.sum().backward()
        return loss.detach()

    replayed = Replayed(work, CUDA)
    inputs = [torch.randn(3, 8) for _ in range(5)]
    results = [replayed({"x": x.cuda()}) for x in inputs]
    assert len(runs) == 2  # called, recorded; then replayed
    together = torch.cat(inputs).cuda()
    torch.testing.assert_close(torch.cat(results), (together @ weight.detach()).square().sum(1))
    [expected] = torch.autograd.grad((together @ weight).square().sum(), weight)
    torch.testing.assert_close(weight.grad, expected)


@pytest.mark.gpu
def test_many_layouts_are_called_and_not_kept():
    """Buckets of many sizes must not fill the card with recordings."""
    runs = []
    replayed = Replayed(lambda given: runs.append(1) or given["x"] * 2, CUDA)
    for _ in range(3):
        for size in range(1, RECORDINGS + 3):
            assert replayed({"x": torch.ones(size, device=CUDA)}).tolist() == [2.0] * size
    assert len(runs) == 2 * RECORDINGS + 3 * 2


@pytest.mark.gpu
def test_what_cannot_be_recorded_is_called_and_said():
    """Work that waits for the card cannot be recorded."""
    said = []
    replayed = Replayed(lambda given: given["x"] * float(given["x"].sum()), CUDA, said.append)
    for _ in range(3):
        assert replayed({"x": torch.full((1,), 3.0, device=CUDA)}).item() == 9.0
    assert len(said) == 1
    assert not replayed.records


@pytest.mark.gpu
def test_a_released_recording_gives_its_memory_back():
    """Pictures are drawn between steps, on the same card."""
    gc.collect()
    before = torch.cuda.memory_allocated()
    given = {"x": torch.ones(1 << 24, device=CUDA)}
    replayed = Replayed(lambda given: (given["x"] + 1).square().sum()[None], CUDA)
    for _ in range(3):
        assert replayed(given).item() == 4 * (1 << 24)
    held = torch.cuda.memory_allocated() - before
    assert held >= 2 * given["x"].nbytes  # the recording has inputs of its own
    replayed.release()
    assert torch.cuda.memory_allocated() - before == given["x"].nbytes
