"""`coeffdream study vit`: alpha beside other methods when a vision transformer is tuned on few pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coeffdream.cli.options import with_config_options
from coeffdream.cli.terminal import ProgressDisplay, loading, near, say, show, show_json
from coeffdream.errors import counted
from coeffdream.studies.vit_options import VitOptions

if TYPE_CHECKING:
    from coeffdream.studies.vit_summary import ArmSummary, Mean


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
    options = VitOptions(**typed)
    options.check()
    with loading("torch", "transformers", "peft"):
        from coeffdream.records.files import write_json
        from coeffdream.studies.vit import study
        from coeffdream.studies.vit_figure import draw_vit
        from coeffdream.studies.vit_summary import summarize

    with ProgressDisplay() as progress:
        cells = study(out, options, progress)
    summary = summarize(cells)
    figures = draw_vit(summary, cells, out / "figure")
    numbers = {
        "options": dataclasses.asdict(options),
        "arms": {arm.arm: dataclasses.asdict(arm) for arm in summary},
        "trainings": [dataclasses.asdict(cell) for cell in cells],
    }
    write_json(out / "numbers.json", numbers)
    if as_json:
        show_json(numbers)
    else:
        show(_accuracies(summary))
        say(
            f"accuracy in %, mean of {counted(options.seeds, 'seed')}; parameters beside the new head; GFLOPs of a picture"
        )
        gains = [arm for arm in summary if arm.gained]
        if gains:
            show(_gains(gains))
            say(
                "points of accuracy that alpha adds to the arm without it (coeff: to linear), with 95 % intervals over "
                "seeds; same task, seed, head and order"
            )
    say(f"figure: {near(figures[0])}; every number: {near(out / 'numbers.json')}")


def _accuracies(summary: Sequence[ArmSummary]) -> Any:
    from coeffdream.tables import table

    shown = table()
    shown.add_column("trained", no_wrap=True)
    for heading in ("parameters", "GFLOPs", *summary[0].accuracy):
        shown.add_column(heading, justify="right")
    for arm in summary:
        *tasks, last = arm.accuracy.values()
        accuracies = [*(f"{100 * mean.value:.1f}" for mean in tasks), _with_interval(last, "")]
        shown.add_row(arm.arm, f"{arm.parameters:,}", f"{arm.gflops:.3g}", *accuracies)
    return shown


def _gains(gains: Sequence[ArmSummary]) -> Any:
    from coeffdream.tables import table

    shown = table()
    shown.add_column("with alpha", no_wrap=True)
    for heading in gains[0].accuracy:
        shown.add_column(heading, justify="right")
    for arm in gains:
        gained = (_with_interval(mean, "+") for mean in (arm.gained or {}).values())
        shown.add_row(arm.arm, *gained)
    return shown


def _with_interval(mean: Mean, sign: str) -> str:
    value = f"{100 * mean.value:{sign}.1f}"
    if mean.low is None or mean.high is None:
        return value
    return f"{value} ± {50 * (mean.high - mean.low):.1f}"
