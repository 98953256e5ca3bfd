"""`coeffdream study vit`: alpha beside other methods when a vision transformer is tuned on few pictures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from coeffdream.cli.options import with_config_options
from coeffdream.cli.study_tables import accuracies, gains
from coeffdream.cli.terminal import ProgressDisplay, loading, near, say, show, show_json
from coeffdream.errors import counted
from coeffdream.studies.vit_options import VitOptions


@with_config_options(VitOptions)
def command(
    typed: dict[str, Any],
    out: Annotated[
        Path, typer.Option(help="Folder for every training, the figure and the numbers; what it has is kept.")
    ] = Path("study-vit"),
    as_json: Annotated[bool, typer.Option("--json", help="Print every number as JSON.")] = False,
) -> None:
    """Tune a pretrained vision transformer on few pictures, with and without the coefficients (Tables 1 and 2).

    Example: coeffdream study vit --seeds 5
    """
    run(
        VitOptions(**typed),
        out,
        as_json,
        "with alpha",
        "points of accuracy that alpha adds to the arm without it (coeff: to linear), with 95 % intervals over seeds; "
        "same task, seed, head and order; p of the mean, paired over seeds, corrected for the arms",
    )


def run(options: VitOptions, out: Path, as_json: bool, compared: str, explained: str) -> None:
    """Make the study and show it. `compared`, `explained`: of the table of differences its heading, and what it is."""
    options.check()
    with loading("torch", "transformers", "peft"):
        from coeffdream.records.files import write_json
        from coeffdream.studies.arms_figure import draw_arms
        from coeffdream.studies.summary import summarize
        from coeffdream.studies.vit import study

    with ProgressDisplay() as progress:
        cells = study(out, options, progress)
    summary = summarize(cells, options.against)
    with_alpha = [arm for arm in options.chosen_arms if options.alpha(arm) is not None]
    figures = draw_arms(summary, cells, with_alpha, "test pictures", out / "figure")
    numbers = {
        "options": dataclasses.asdict(options),
        "arms": {arm.arm: dataclasses.asdict(arm) for arm in summary},
        "trainings": [dataclasses.asdict(cell) for cell in cells],
    }
    write_json(out / "numbers.json", numbers)
    if as_json:
        show_json(numbers)
    else:
        show(accuracies(summary, {"GFLOPs": {cell.arm: f"{cell.gflops:.3g}" for cell in cells}}))
        say(
            f"accuracy in %, mean of {counted(options.seeds, 'seed')}; parameters beside the new head; GFLOPs of a picture"
        )
        paired = [arm for arm in summary if arm.gained]
        if paired:
            show(gains(paired, compared))
            say(explained)
    say(f"figure: {near(figures[0])}; every number: {near(out / 'numbers.json')}")
