"""`coeffdream study vqa`: alpha beside LoRA and DoRA when a frozen BART learns to answer questions about pictures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from coeffdream.cli.options import with_config_options
from coeffdream.cli.study_tables import accuracies, gains
from coeffdream.cli.terminal import ProgressDisplay, loading, near, say, show, show_json
from coeffdream.errors import counted
from coeffdream.studies.vqa_options import VqaOptions


@with_config_options(VqaOptions)
def command(
    typed: dict[str, Any],
    out: Annotated[
        Path, typer.Option(help="Folder for every training, the figure and the numbers; what it has is kept.")
    ] = Path("study-vqa"),
    as_json: Annotated[bool, typer.Option("--json", help="Print every number as JSON.")] = False,
) -> None:
    """Teach a BART to answer questions about pictures, with and without the coefficients (Table 4).

    Example: coeffdream study vqa --seeds 5
    """
    options = VqaOptions(**typed)
    options.check()
    with loading("torch", "transformers", "peft"):
        from coeffdream.records.files import write_json
        from coeffdream.studies.arms_figure import draw_arms
        from coeffdream.studies.summary import summarize
        from coeffdream.studies.vqa import by_question, study

    with ProgressDisplay() as progress:
        trainings = study(out, options, progress)
    results = by_question(trainings)
    summary = summarize(results, options.against)
    with_alpha = [each.arm for each in trainings if each.coefficients]
    figures = draw_arms(summary, results, with_alpha, "test questions", out / "figure")
    numbers = {
        "options": dataclasses.asdict(options),
        "arms": {arm.arm: dataclasses.asdict(arm) for arm in summary},
        "trainings": [dataclasses.asdict(each) for each in trainings],
    }
    write_json(out / "numbers.json", numbers)
    if as_json:
        show_json(numbers)
    else:
        show(accuracies(summary, {"rank": {each.arm: str(each.rank or "") for each in trainings}}))
        say(
            f"questions answered in %, mean of {counted(options.seeds, 'seed')}; parameters beside the layer for pictures"
        )
        if mixed := next((each for each in trainings if each.coefficients), None):
            say(
                f"alpha: {counted(mixed.coefficients, 'coefficient')} in {counted(mixed.layers, 'attention layer')}"
            )
        if paired := [arm for arm in summary if arm.gained]:
            show(gains(paired, "with alpha"))
            say(
                "points that alpha adds to the arm without it (coeff: to projection), with 95 % intervals over seeds; same "
                "seed, start and order; p of the mean, paired over seeds, corrected for the arms"
            )
    say(f"figure: {near(figures[0])}; every number: {near(out / 'numbers.json')}")
