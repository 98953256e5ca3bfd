"""Which backend `auto` takes: the one that a run began with, the one that is forced, a rule, or what was measured.

On a CPU it is a rule of the shapes alone, so that two equal runs are equal to the last bit whatever else the machine
does. Elsewhere it is the fastest that proved right here (`calibrate`), measured once and kept in the cache; a run
writes down what it took and goes on with it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator

import torch
from torch import Tensor

from coeffdream.attention.calibrate import ShapeClass, Verdict, calibrate
from coeffdream.attention.calibrations import CalibrationFile, card_of
from coeffdream.attention.errors import AttentionValueError
from coeffdream.attention.operator import LATER

# Below this size of all maps [B,H,N,M] the definition is the faster of the two on a CPU (docs/attention.md); it is
# also the least that the chunked operator would hold there.
REFERENCE_MAP_BYTES = 4 << 20
FORCED = "COEFFDREAM_ATTENTION"
BACKENDS = ("reference", "chunked", "flash", "triton")

_deciding = threading.RLock()
_chosen: dict[tuple[object, ...], str] = {}  # by what is quick to ask of a call
_pinned: dict[str, str] = {}
_listening: list[dict[str, str]] = []


def choose(query: Tensor, key: Tensor, attn_mask: Tensor | None) -> str:
    """A backend that serves this call. Raises AttentionError for a forced one that there is not."""
    # A traced reference has its backward traced under autocast too, in half precision: not the operator. It asks again
    # when it runs, where tensors have a device to be measured on.
    if torch.compiler.is_compiling():
        return "chunked" if query.device.type == "cpu" else LATER
    if type(query) is not Tensor or query.is_meta:
        return rule(query, key)
    call = (query.device, query.dtype, query.shape, key.shape[2], attn_mask is None)
    found = _chosen.get(call)
    if found is None:
        with _deciding:
            found = _decide(query, key, attn_mask)
            _chosen[call] = found
    return found


def rule(query: Tensor, key: Tensor) -> str:
    """What is right everywhere: the definition for small maps, else its chunks."""
    batch, heads, queries, _ = query.shape
    map_bytes = batch * heads * queries * key.shape[2] * max(4, query.dtype.itemsize)
    return "reference" if map_bytes < REFERENCE_MAP_BYTES else "chunked"


@contextlib.contextmanager
def remembered(choices: dict[str, str]) -> Iterator[None]:
    """Take what `choices` say, by label, while the block lasts, and add to them what else is taken."""
    with _deciding:
        _pinned.update(choices)
        _listening.append(choices)
        _chosen.clear()  # so that each call is told again
    try:
        yield
    finally:
        with _deciding:
            for label in choices:
                _pinned.pop(label, None)
            _listening[:] = [each for each in _listening if each is not choices]
            _chosen.clear()


def _decide(query: Tensor, key: Tensor, attn_mask: Tensor | None) -> str:
    calibrated = calibrates(query.device)
    of = ShapeClass.of(query, key)
    label = f"{card_of(query.device)}, {of.name}" if calibrated else f"cpu, {_exact(query, key)}"
    if attn_mask is not None:
        label += ", masked"
    backend = _pinned.get(label) or _forced()
    if backend is None:
        backend = rule(query, key)
        if calibrated and attn_mask is None and not _capturing(query.device):
            backend = known_or_measured(of, query.device).backend
    for choices in _listening:
        choices[label] = backend
    return backend


def _capturing(device: torch.device) -> bool:
    """A CUDA graph that is being recorded waits for nothing."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def calibrates(device: torch.device) -> bool:
    return device.type != "cpu"


def _exact(query: Tensor, key: Tensor) -> str:
    batch, heads, queries, head_dim = query.shape
    dtype = str(query.dtype).removeprefix("torch.")
    return f"{dtype} {batch}x{heads}x{queries}x{key.shape[2]}x{head_dim}"


def _forced() -> str | None:
    name = os.environ.get(FORCED)
    if not name or name == "auto":
        return None
    if name not in BACKENDS:
        raise AttentionValueError(f"{FORCED}={name!r}: there are auto, {', '.join(BACKENDS)}")
    return name


def known_or_measured(of: ShapeClass, device: torch.device) -> Verdict:
    """What the cache says of a class of shapes on this device, else what is measured now and kept there."""
    file = CalibrationFile.here()
    with file.held():  # of processes that start together one measures
        known = file.read(device).get(of.name)
        if known is not None and known.backend in BACKENDS:
            return known
        verdict = calibrate(of, device)
        for name, problem in verdict.refused.items():
            logging.getLogger("coeffdream").warning(
                "attention backend %r is not used for %s on %s: %s", name, of.name, card_of(device), problem
            )
        file.add(device, of.name, verdict)
    return verdict
