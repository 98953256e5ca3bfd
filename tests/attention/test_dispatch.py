from __future__ import annotations

import re

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from coeffdream.attention import dispatch, mixed_attention
from coeffdream.errors import AttentionError


def _with(position, change):
    def broken(inputs):
        tensors = list(inputs)
        tensors[position] = change(tensors[position])
        return tensors

    return broken


REFUSED = {
    "three dimensions": (
        _with(0, lambda t: t[0]),
        "query must be [B,H,N,d]",
        "query float32 [4, 63, 32] on cpu",
    ),
    "head dims differ": (
        _with(1, lambda t: t[..., :30]),
        "must agree in B, H, M and d",
        "key float32 [2, 4, 77, 30]",
    ),
    "batches differ": (
        _with(1, lambda t: t[:1]),
        "must agree in B, H, M and d",
        "key float32 [1, 4, 77, 32]",
    ),
    "keys and values differ": (
        _with(2, lambda t: t[:, :, :70]),
        "must agree in B, H, M and d",
        "[2, 4, 70, 32]",
    ),
    "empty queries": (_with(0, lambda t: t[:, :, :0]), "may be 0", "query float32 [2, 4, 0, 32]"),
    "mixing of other heads": (
        _with(3, lambda t: torch.eye(5)),
        "mixing must be [4,4]",
        "mixing float32 [5, 5]",
    ),
    "two dtypes": (_with(1, lambda t: t.half()), "must have one dtype", "key float16"),
    "integers": (lambda i: [t.int() for t in i], "must have one dtype", "query int32"),
    "half mixing": (_with(3, lambda t: t.half()), "mixing must have the dtype of query", "mixing float16"),
    "double mixing": (
        _with(3, lambda t: t.double()),
        "mixing must have the dtype of query",
        "mixing float64",
    ),
    "two devices": (_with(2, lambda t: t.to("meta")), "one device", "value float32 [2, 4, 77, 32] on meta"),
    "NaN mixing": (
        _with(3, lambda t: t.detach().log()),
        "NaN or infinite coefficients",
        "mixing float32 [4, 4]",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_tensors_are_refused_and_quoted(draw, case):
    """One line that names the fault and quotes what came in; catchable as ours and as ValueError."""
    broken, fault, quoted = REFUSED[case]
    inputs, _ = draw(dtype=torch.float32)
    with pytest.raises(AttentionError, match=re.escape(fault)) as caught:
        mixed_attention(*broken(inputs))
    assert isinstance(caught.value, ValueError)
    assert quoted in str(caught.value)
    assert "\n" not in str(caught.value)


def test_empty_batch_is_refused(draw):
    """An empty batch is a mistake upstream, not an answer."""
    (query, key, value, mixing), _ = draw()
    with pytest.raises(ValueError, match=r"may be 0; got query float64 \[0, 4, 63, 32\]"):
        mixed_attention(query[:0], key[:0], value[:0], mixing)


@pytest.mark.parametrize(
    ("mask", "fault"),
    [
        (torch.ones(63, 77, dtype=torch.int64), "boolean (True: may attend) or floating point"),
        (torch.ones(63, 76, dtype=torch.bool), "broadcastable to [B,H,N,M] = [2, 4, 63, 77]"),
        (torch.ones(1, 1, 1, 1, 77, dtype=torch.bool), "broadcastable to [B,H,N,M]"),
        (torch.zeros(63, 77, requires_grad=True), "pass attn_mask.detach()"),
    ],
)
@pytest.mark.parametrize("backend", ["reference", "chunked"])
def test_bad_masks_are_refused(draw, backend, mask, fault):
    """A mask that cannot be meant so, or whose gradient would be lost, raises in both backends alike."""
    inputs, _ = draw()
    with pytest.raises(ValueError, match=re.escape(fault)):
        mixed_attention(*inputs, attn_mask=mask, backend=backend)


def test_unknown_and_unready_backends(draw):
    """A misspelt backend is a ValueError, one that cannot serve a NotImplementedError; both say what is."""
    inputs, _ = draw()
    with pytest.raises(ValueError, match=r"'flesh': served are auto, reference, chunked, flash, triton"):
        mixed_attention(*inputs, backend="flesh")
    with pytest.raises(
        NotImplementedError, match=r"'triton': .*got query float64.*on cpu; auto, ref"
    ) as caught:
        mixed_attention(*inputs, backend="triton")
    assert isinstance(caught.value, AttentionError)


def test_auto_takes_the_definition_only_for_small_maps(draw, monkeypatch):
    """The measured rule: below 4 MiB of maps the definition, from there on the chunked operator."""
    chosen = []
    monkeypatch.setattr(dispatch, "reference", lambda *_, **__: chosen.append("reference"))
    monkeypatch.setattr(dispatch.operator, "apply", lambda *inputs: chosen.append(inputs[-2]))
    for queries in (511, 512):
        inputs, _ = draw(batch=1, heads=4, queries=queries, keys=512, head_dim=2, dtype=torch.float32)
        mixed_attention(*inputs)
    assert chosen == ["reference", "chunked"]


@pytest.mark.parametrize("backend", ["auto", "reference", "chunked", "flash"])
@pytest.mark.parametrize("fake", [False, True])
def test_shapes_without_values(backend, fake):
    """The meta device and fake tensors go through, forward and backward: SDXL's shapes cost no memory."""
    with FakeTensorMode() if fake else torch.device("meta"):
        query, key, value = (torch.empty(1, 10, n, 64, requires_grad=True) for n in (4096, 77, 77))
        mixing = torch.empty(10, 10, requires_grad=True)
        mixed_attention(query, key, value, mixing, backend=backend).sum().backward()
    assert query.grad.shape == query.shape
    assert key.grad.shape == value.grad.shape == key.shape
    assert mixing.grad.shape == (10, 10)
