"""Every way to mixed attention tried on the machine at hand: is it right, and how long does it take?

A backend is held against the definition, output and four gradients, on the very size that is asked for, before it
is timed. One that is wrong, raises or runs out of memory is no candidate.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from coeffdream.attention import operator
from coeffdream.attention.reference import reference

# The definition keeps about six copies of the maps; beyond this it is no way to train.
REFERENCE_BYTES = 64 << 20
# Maps [H,rows,M] that the definition makes at a time when it only judges.
JUDGED_BYTES = 256 << 20
REPEATS = 5
SECONDS = 0.5  # of one candidate's repeats
# Relative error in norm that rounding explains: some units in the last place of the inputs' dtype.
TOLERANCE = {torch.float16: 4 * 2**-11, torch.bfloat16: 4 * 2**-8, torch.float32: 1e-4, torch.float64: 1e-9}
PARTS = ("the output", "the gradient of query", "of key", "of value", "of mixing")


@dataclass(frozen=True)
class ShapeClass:
    """Calls that are served alike: batch and long sides are rounded up to powers of two. A side of at most 128
    keys, such as a prompt's, is itself."""

    dtype: str
    batch: int
    heads: int
    queries: int
    keys: int
    head_dim: int

    @classmethod
    def of(cls, query: Tensor, key: Tensor) -> ShapeClass:
        batch, heads, queries, head_dim = query.shape
        dtype = str(query.dtype).removeprefix("torch.")
        return cls(dtype, _power(batch), heads, _side(queries), _side(key.shape[2]), head_dim)

    @property
    def name(self) -> str:
        return f"{self.dtype} {self.batch}x{self.heads}x{self.queries}x{self.keys}x{self.head_dim}"


@dataclass(frozen=True)
class Verdict:
    """The backend to take; seconds of forward and backward of each that is right; why the others are not."""

    backend: str
    seconds: dict[str, float] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def calibrate(of: ShapeClass, device: torch.device) -> Verdict:
    """Try every backend on drawn inputs. No random state, mode or hook of the caller is touched or in force.

    Autocast, checkpointing and the like belong to a thread, so this runs on one of its own.
    """
    with ThreadPoolExecutor(1) as apart:
        return apart.submit(_judge, of, device).result()


def candidates(of: ShapeClass, query: Tensor) -> dict[str, Callable[..., Tensor]]:
    """Backends that say they serve such a query, by name; each takes query, key, value and mixing."""

    def call(name: str, query: Tensor, key: Tensor, value: Tensor, mixing: Tensor) -> Tensor:
        return operator.apply(query, key, value, mixing, None, None, name)

    names = ["chunked", "flash", *([] if operator.why_not_triton(query, None) else ["triton"])]
    found: dict[str, Callable[..., Tensor]] = {name: partial(call, name) for name in names}
    if of.batch * of.heads * of.queries * of.keys * 4 <= REFERENCE_BYTES:
        found["reference"] = reference
    return found


def _judge(of: ShapeClass, device: torch.device) -> Verdict:
    inputs, grad_out = _drawn(of, device)
    right = _right(inputs, grad_out)
    seconds, refused = {}, {}
    for name, backend in candidates(of, inputs[0]).items():
        try:
            problem = _disagreement(_passed(backend, inputs, grad_out), right, inputs[0].dtype)
            if problem is None:
                seconds[name] = _seconds(partial(_passed, backend, inputs, grad_out), device)
        except Exception as error:  # of a compiler, a driver, a kernel: whatever it is, this one cannot serve
            problem = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]
        if problem is not None:
            refused[name] = problem
    return Verdict(min(seconds, key=seconds.__getitem__, default="reference"), seconds, refused)


def _drawn(of: ShapeClass, device: torch.device) -> tuple[list[Tensor], Tensor]:
    """query, key, value as attention layers cut them out of their projections, mixing, and the output's gradient."""
    generator = torch.Generator().manual_seed(0)
    dtype = getattr(torch, of.dtype)

    def normal(length: int) -> Tensor:
        drawn = torch.randn(of.batch, length, of.heads, of.head_dim, generator=generator)
        return drawn.to(device, dtype).transpose(1, 2)

    inputs = [normal(length).requires_grad_() for length in (of.queries, of.keys, of.keys)]
    mixing = torch.eye(of.heads) + 0.3 * torch.randn(of.heads, of.heads, generator=generator)
    work = torch.promote_types(dtype, torch.float32)
    return [*inputs, mixing.to(device, work).requires_grad_()], normal(of.queries)


def _right(inputs: list[Tensor], grad_out: Tensor) -> list[Tensor]:
    """The definition's output and gradients, some rows at a time."""
    work = torch.promote_types(grad_out.dtype, torch.float32)
    query, key, value, mixing = exact = [t.detach().to(work).requires_grad_() for t in inputs]
    out = torch.empty_like(query)
    rows = max(1, JUDGED_BYTES // (query.shape[1] * key.shape[2] * work.itemsize))
    for b in range(len(query)):
        for first in range(0, query.shape[2], rows):
            at = (slice(b, b + 1), slice(None), slice(first, first + rows))
            part = reference(query[at], key[b : b + 1], value[b : b + 1], mixing)
            part.backward(grad_out[at].to(work))
            out[at] = part.detach()
    return [out.detach(), *(t.grad for t in exact if t.grad is not None)]


def _passed(backend: Callable[..., Tensor], inputs: list[Tensor], grad_out: Tensor) -> list[Tensor]:
    out = backend(*inputs)
    return [out.detach(), *torch.autograd.grad(out, inputs, grad_out)]


def _disagreement(got: list[Tensor], right: list[Tensor], dtype: torch.dtype) -> str | None:
    for part, mine, exact in zip(PARTS, got, right, strict=True):
        error = ((mine.to(exact.dtype) - exact).norm() / exact.norm()).item()
        if not error <= TOLERANCE[dtype]:  # NaN is no agreement
            return f"{part} is off by {error:.2g} where rounding explains {TOLERANCE[dtype]:.2g}"
    return None


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Median of some repeats; what `work` compiles it has compiled by now."""
    if device.type == "cuda":
        with contextlib.suppress(RuntimeError):  # of work that waits for the card: then its launches count
            work = _recorded(work, device)
    spent: list[float] = []
    while len(spent) < REPEATS and sum(spent) < SECONDS:
        _wait(device)
        start = time.perf_counter()
        work()
        _wait(device)
        spent.append(time.perf_counter() - start)
    return statistics.median(spent)


def _recorded(work: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """The same without Python's launching, which training and drawing do without too (backbones/replay.py)."""
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        work()
    with torch.cuda.graph(graph, stream=stream):
        work()
    return graph.replay


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _power(number: int) -> int:
    return 1 << (number - 1).bit_length()


def _side(length: int) -> int:
    return length if length <= 128 else _power(length)
