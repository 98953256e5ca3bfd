"""`coeffdream bench attention`: what mixing the heads costs on this machine."""

from __future__ import annotations

import dataclasses
from itertools import chain, repeat
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coeffdream.cli.terminal import ProgressDisplay, loading, say, show, show_json

if TYPE_CHECKING:
    from coeffdream.bench.attention import Benchmark, Timing

DESCRIBED = {
    "sdpa": "SDPA",
    "reference": "eager",
    "chunked": "chunked",
    "flash": "flash",
    "triton": "Triton",
}


def attention(
    resolution: Annotated[int, typer.Option(help="Side of the picture whose SDXL layers are timed.")] = 1024,
    batch_size: Annotated[int, typer.Option(help="Samples at a time.")] = 1,
    dtype: Annotated[
        str | None,
        typer.Option(help="float32, bfloat16 or float16.", show_default="bfloat16 on a GPU, else float32"),
    ] = None,
    repeats: Annotated[
        int | None, typer.Option(help="Timed calls of each.", show_default="30 on a GPU, else 3")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print every timing as JSON.")] = False,
) -> None:
    """Time mixed attention against plain and eager attention on SDXL's layers, in turn, in one run.

    Example: coeffdream bench attention --resolution 512
    """
    with loading("torch", "diffusers"):
        from coeffdream.backbones.device import pick_device
        from coeffdream.bench.attention import run_benchmark

    chosen = pick_device(device)
    on_gpu = chosen.type == "cuda"
    with ProgressDisplay() as progress:
        benchmark = run_benchmark(
            device=str(chosen),
            dtype=dtype or ("bfloat16" if on_gpu else "float32"),
            resolution=resolution,
            batch=batch_size,
            repeats=repeats if repeats is not None else 30 if on_gpu else 3,
            on_progress=progress,
        )
    if as_json:
        show_json(dataclasses.asdict(benchmark))
        return
    show(_table(benchmark))
    say(
        f"{benchmark.device}, {benchmark.dtype}, {benchmark.threads} threads, torch {benchmark.torch}; "
        f"medians of {benchmark.repeats} calls in turn; memory beyond the inputs, by {benchmark.memory_by}"
    )
    say("SDPA mixes no heads; eager is the definition, with every map in memory.")
    if not on_gpu:
        say("Triton runs on CUDA only and was not timed.")


def _table(benchmark: Benchmark) -> Any:
    from coeffdream.tables import table

    timed = table()
    for heading in ("layer", "attention", "pass", "time", "x SDPA", "x eager", "memory"):
        timed.add_column(
            heading,
            justify="left" if heading in ("layer", "attention", "pass") else "right",
            no_wrap=heading not in ("layer", "time"),  # time also holds why there is none
        )
    for case in benchmark.cases:
        shape = case.shape
        # A line each, so that the column is narrow.
        layer = (shape.name, f"{shape.queries}x{shape.keys}", f"{shape.heads} heads")
        for timing, label in zip(case.timings, chain(layer, repeat("")), strict=False):
            timed.add_row(label, *_row(timing))
        timed.add_section()
    return timed


def _row(timing: Timing) -> list[str]:
    name = DESCRIBED[timing.backend]
    if timing.median is None or timing.peak is None:
        return [name, timing.stage, str(timing.refused), "", "", ""]
    return [
        name,
        timing.stage,
        _time(timing.median),
        _ratio(timing.to_sdpa),
        _ratio(timing.to_eager),
        _size(timing.peak),
    ]


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _size(value: int) -> str:
    return f"{value / 2**20:,.1f} MiB"
