"""`coeffdream inspect`: look at what the coefficients have learned."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from coeffdream.cli.options import RunArgument
from coeffdream.cli.runs import the_run
from coeffdream.cli.terminal import loading, say_file, show, show_json


def command(
    run: RunArgument = None,
    picture: Annotated[
        Path | None, typer.Option(help="Where the heatmap goes.", show_default="alpha.png in the run")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Where run folders are kept.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Show the learned head-mixing of a run, layer by layer, and draw it as a heatmap."""
    from coeffdream.cli.next_step import tell_report
    from coeffdream.tables import table

    folder = the_run(run, runs)
    with loading("numpy", "matplotlib"):
        from coeffdream.report.alpha import describe, read_mixing, short_path
        from coeffdream.report.heatmap import draw_heatmap

        mixings = read_mixing(folder.adapter)
        layers = [describe(path, mixing) for path, mixing in mixings.items()]
        file = picture or folder.path / "alpha.png"
        draw_heatmap(mixings, file)
    if as_json:
        show_json(
            {"run": str(folder.path), "picture": str(file), "layers": [dataclasses.asdict(x) for x in layers]}
        )
        return
    mixed = table(f"{folder.path.name}: alpha' in {len(layers)} attention layers")
    mixed.add_column("layer", no_wrap=True)
    for column in ("heads", "‖α'−I‖", "min", "max", "< 0"):
        mixed.add_column(column, justify="right", no_wrap=True)
    mixed.add_column("strongest, to←of")
    for layer in layers:
        pairs = ", ".join(f"{to}←{of} {weight:+.2f}" for to, of, weight in layer.pairs)
        mixed.add_row(
            short_path(layer.path),
            str(layer.heads),
            f"{layer.norm:.3f}",
            f"{layer.low:+.2f}",
            f"{layer.high:+.2f}",
            f"{100 * layer.negative:.0f} %",
            pairs,
        )
    show(mixed)
    say_file("heatmap", file)
    tell_report(folder)
