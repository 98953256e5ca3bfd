"""`coeffdream study heads`: what the number of heads makes of alpha's cost and of what it can do."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coeffdream.cli.options import with_config_options
from coeffdream.cli.study_tables import with_interval
from coeffdream.cli.terminal import ProgressDisplay, loading, near, say, show, show_json
from coeffdream.studies.options import ExpressivenessOptions, HeadsOptions

if TYPE_CHECKING:
    from coeffdream.studies.expressiveness import Trained
    from coeffdream.studies.head_costs import Cost, Timing
    from coeffdream.studies.summary import ArmSummary


@with_config_options(HeadsOptions)
def command(
    typed: dict[str, Any],
    out: Annotated[Path, typer.Option(help="Folder for the figure and every number.")] = Path("study-heads"),
    as_json: Annotated[bool, typer.Option("--json", help="Print every number as JSON.")] = False,
) -> None:
    """How alpha's cost grows with the number of heads, and what it can express and gain with them.

    Example: coeffdream study heads --heads 1,4,16
    """
    options = HeadsOptions(**typed)
    options.check()
    with loading("torch", "diffusers", "transformers"):
        from coeffdream.records.files import write_json
        from coeffdream.studies.expressiveness import ARMS, train_arm
        from coeffdream.studies.head_costs import model_costs, time_heads
        from coeffdream.studies.heads_figure import draw_heads
        from coeffdream.studies.heads_tuned import tune_heads

    out.mkdir(parents=True, exist_ok=True)
    counts = options.chosen_heads
    with ProgressDisplay() as progress:
        costs = model_costs()
        timings = time_heads(
            counts, width=options.width, tokens=options.tokens, repeats=options.repeats, progress=progress
        )
        gains = [
            (heads, train_arm(arm, ExpressivenessOptions(options.seeds, heads, options.steps), progress))
            for heads in counts
            for arm in ARMS
        ]
        tuned = tune_heads(out, counts, options.task, progress) if options.task else []
    figures = draw_heads(costs, timings, gains, tuned, out / "figure")
    numbers = {
        "options": dataclasses.asdict(options),
        "models": [dataclasses.asdict(cost) for cost in costs],
        "timings": [{**dataclasses.asdict(timing), "ratio": timing.ratio} for timing in timings],
        "expressed": [
            {"heads": heads, "arm": each.arm, "solved": each.solved, "errors": each.errors.tolist()}
            for heads, each in gains
        ],
        "tuned": [
            {"heads": heads, "arms": {arm.arm: dataclasses.asdict(arm) for arm in summary}}
            for heads, summary in tuned
        ],
    }
    write_json(out / "numbers.json", numbers)
    if as_json:
        show_json(numbers)
    else:
        show(_models(costs))
        say(
            "from shapes; heads are number x width. LoRA: rank 2 on queries and values. Operations: mixing by attention"
        )
        show(_measured(timings, gains))
        say(
            f"one layer of {options.width} channels and {options.tokens} tokens here, forward and backward; median error of "
            f"{options.seeds} seeds that move eight points"
        )
        if tuned:
            show(_tuned(tuned))
            say(
                f"small vision transformers, each pretrained with its heads, tuned on {options.task}: accuracy in %, and "
                "points that alpha adds, with 95 % intervals over seeds"
            )
    say(f"figure: {near(figures[0])}; every number: {near(out / 'numbers.json')}")


def _models(costs: Sequence[Cost]) -> Any:
    from coeffdream.tables import table

    shown = table()
    shown.add_column("model", no_wrap=True)
    for heading in ("layers", "heads", "coefficients", "of model", "of LoRA", "operations"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for cost in costs:
        shown.add_row(
            cost.model,
            str(cost.layers),
            f"{cost.heads} x {cost.head_width}",
            f"{cost.coefficients:,}",
            f"{100 * cost.coefficients / cost.parameters:.4f} %",
            f"{100 * cost.coefficients / cost.lora:.1f} %",
            f"+{100 * cost.operations:.0f} %",
        )
    return shown


def _measured(timings: Sequence[Timing], gains: Sequence[tuple[int, Trained]]) -> Any:
    from coeffdream.studies.expressiveness import ARMS
    from coeffdream.tables import table

    shown = table()
    for heading in ("heads", "time", *(f"error, {name}" for name in ARMS.values())):
        shown.add_column(heading, justify="right")
    for timing in timings:
        errors = [each.errors[each.middle] for heads, each in gains if heads == timing.heads]
        shown.add_row(str(timing.heads), f"x {timing.ratio:.2f}", *(f"{error:.2g}" for error in errors))
    return shown


def _tuned(tuned: Sequence[tuple[int, Sequence[ArmSummary]]]) -> Any:
    from coeffdream.tables import table

    shown = table()
    for heading in ("heads", "coefficients", "linear", "coeff", "alpha adds"):
        shown.add_column(heading, justify="right")
    for heads, (linear, coeff) in tuned:
        [without], [with_alpha], [gained] = (
            list(means.values()) for means in (linear.accuracy, coeff.accuracy, coeff.gained or {})
        )
        shown.add_row(
            str(heads),
            str(coeff.parameters),
            *map(with_interval, (without, with_alpha)),
            with_interval(gained, "+"),
        )
    return shown
