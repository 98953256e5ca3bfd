"""What mixed attention costs: time and memory beside plain attention and beside the definition, in one run.

Contenders are timed in turn (A B C A B C ...), so that whatever else the machine does falls on all alike,
and reported as ratios of medians. SDPA is PyTorch's own attention without mixing; `reference` is the
definition with every map in memory, as one would write it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from coeffdream.bench.measuring import peak_of, seconds_of
from coeffdream.errors import ConfigError
from coeffdream.progress import Progress, silent

SDPA, EAGER = "sdpa", "reference"
DTYPES = ("float32", "bfloat16", "float16")
PASSES = ("forward", "forward+backward")
# Copies of all maps that the definition holds at once: both softmax maps, and in the backward three gradients.
EAGER_MAPS = {"forward": 3, "forward+backward": 6}
TEXT_TOKENS = 77
HEAD_DIM = 64


@dataclass(frozen=True)
class Shape:
    """One attention layer: query [B,H,N,d], key and value [B,H,M,d]."""

    name: str
    batch: int
    heads: int
    queries: int
    keys: int
    head_dim: int = HEAD_DIM

    def map_bytes(self, itemsize: int) -> int:
        """Of all maps [B,H,N,M] together."""
        return self.batch * self.heads * self.queries * self.keys * itemsize


@dataclass(frozen=True)
class Timing:
    """One contender on one shape. `seconds` holds each repeat; the ratios compare medians. `peak` counts bytes
    allocated beyond the inputs. `refused` says why there is nothing to report."""

    backend: str
    stage: str
    seconds: list[float] = field(default_factory=list)
    peak: int | None = None
    refused: str | None = None
    to_sdpa: float | None = None
    to_eager: float | None = None

    @property
    def median(self) -> float | None:
        return statistics.median(self.seconds) if self.seconds else None


@dataclass(frozen=True)
class Case:
    """One shape with all its timings."""

    shape: Shape
    timings: list[Timing]


@dataclass(frozen=True)
class Benchmark:
    device: str
    dtype: str
    torch: str
    threads: int
    repeats: int
    resolution: int
    memory_by: str
    cases: list[Case]


def sdxl_shapes(resolution: int, batch: int) -> list[Shape]:
    """SDXL's attention layers at a square of `resolution` pixels: 10 heads at 1/16 of it, 20 at 1/32."""
    if resolution < 32 or resolution % 32:
        raise ConfigError(f"--resolution {resolution} must be a multiple of 32, such as 1024")
    if batch < 1:
        raise ConfigError(f"--batch-size {batch} must be at least 1")
    shapes = []
    for factor, heads in ((16, 10), (32, 20)):
        length = (resolution // factor) ** 2
        shapes.append(Shape("self", batch, heads, length, length))
        shapes.append(Shape("cross", batch, heads, length, TEXT_TOKENS))
    return shapes


def run_benchmark(
    *, device: str, dtype: str, resolution: int, batch: int, repeats: int, on_progress: Progress = silent
) -> Benchmark:
    """Time every contender on every shape. Raises ConfigError for what cannot be asked."""
    import torch

    if dtype not in DTYPES:
        raise ConfigError(f"--dtype {dtype!r} is not served; choose one of {', '.join(DTYPES)}")
    if repeats < 1:
        raise ConfigError(f"--repeats {repeats} must be at least 1")
    shapes = sdxl_shapes(resolution, batch)
    where = torch.device(device)
    cases = []
    for number, shape in enumerate(shapes):
        on_progress("attention", number, len(shapes), f"{shape.name} {shape.queries} x {shape.heads}")
        cases.append(Case(shape, _timings(shape, where, getattr(torch, dtype), repeats)))
    on_progress("attention", len(shapes), len(shapes), "")
    return Benchmark(
        device=torch.cuda.get_device_name(where) if where.type == "cuda" else where.type,
        dtype=dtype,
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        repeats=repeats,
        resolution=resolution,
        memory_by="torch.cuda.max_memory_allocated" if where.type == "cuda" else "torch.profiler",
        cases=cases,
    )


def _timings(shape: Shape, device: Any, dtype: Any, repeats: int) -> list[Timing]:
    import torch

    generator = torch.Generator().manual_seed(0)

    def normal(*size: int) -> Any:
        return torch.randn(size, generator=generator).to(device, dtype).requires_grad_()

    rows = (shape.batch, shape.heads)
    inputs = [normal(*rows, length, shape.head_dim) for length in (shape.queries, shape.keys, shape.keys)]
    mixing = torch.eye(shape.heads) + 0.1 * torch.randn(shape.heads, shape.heads, generator=generator)
    inputs.append(mixing.to(device).requires_grad_())
    contenders = _contenders(device, inputs)
    timings = []
    for stage in PASSES:
        refusals = {name: _refusal(name, shape, stage, device) for name in contenders}
        running = {name: call for name, call in contenders.items() if refusals[name] is None}
        spent: dict[str, list[float]] = {name: [] for name in running}
        # The first call of each is the warm-up, and the one whose memory is counted.
        peaks = {name: peak_of(partial(_once, call, inputs, stage), device) for name, call in running.items()}
        for _ in range(repeats):
            for name, call in running.items():
                spent[name].append(seconds_of(partial(_once, call, inputs, stage), device))
        medians = {name: statistics.median(times) for name, times in spent.items()}
        for name in contenders:
            if refusals[name] is not None:
                timings.append(Timing(name, stage, refused=refusals[name]))
                continue
            ratios = {
                other: medians[name] / medians[other] if other in medians else None for other in (SDPA, EAGER)
            }
            timings.append(Timing(name, stage, spent[name], peaks[name], None, ratios[SDPA], ratios[EAGER]))
    return timings


def _contenders(device: Any, inputs: list[Any]) -> dict[str, Callable[[], Any]]:
    import torch.nn.functional as F

    from coeffdream.attention import mixed_attention

    query, key, value, mixing = inputs
    found: dict[str, Callable[[], Any]] = {
        SDPA: lambda: F.scaled_dot_product_attention(query, key, value),
        EAGER: lambda: mixed_attention(query, key, value, mixing, backend="reference"),
        "chunked": lambda: mixed_attention(query, key, value, mixing, backend="chunked"),
        "flash": lambda: mixed_attention(query, key, value, mixing, backend="flash"),
    }
    if device.type == "cuda":
        found["triton"] = lambda: mixed_attention(query, key, value, mixing, backend="triton")
    return found


def _refusal(name: str, shape: Shape, stage: str, device: Any) -> str | None:
    """Why a contender is not run: the definition only where its maps fit, Triton only where it serves."""
    if name == "triton":
        import torch

        from coeffdream.attention.operator import why_not_triton

        query = torch.empty(1, shape.heads, 1, shape.head_dim, device=device, dtype=torch.float16)
        return why_not_triton(query, None)
    if name != EAGER:
        return None
    needed, free = EAGER_MAPS[stage] * shape.map_bytes(4), _free_memory(device)
    if needed <= 0.8 * free:
        return None
    return f"does not fit: its maps need {needed / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free"


def _free_memory(device: Any) -> int:
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return int(psutil.virtual_memory().available)


def _once(call: Callable[[], Any], inputs: list[Any], stage: str) -> None:
    import torch

    if stage == "forward":
        with torch.no_grad():
            call()
        return
    call().sum().backward()
    for tensor in inputs:
        tensor.grad = None
