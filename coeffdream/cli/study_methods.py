"""`coeffdream study methods`: alpha beside methods of PEFT's on the toybox, in pairs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coeffdream.cli.options import with_config_options
from coeffdream.cli.terminal import loading, near, say, show, show_json
from coeffdream.studies.methods import MethodsOptions

if TYPE_CHECKING:
    from coeffdream.compare.result import Comparison, Contrast


@with_config_options(MethodsOptions)
def command(
    typed: dict[str, Any],
    out: Annotated[Path, typer.Option(help="The study's folder; an unfinished one goes on.")] = Path(
        "study-methods"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print every number as JSON.")] = False,
) -> None:
    """Train each method alone and beside alpha on the toybox, and compare the two in pairs.

    Example: coeffdream study methods --methods oft,lokr
    """
    options = MethodsOptions(**typed)
    options.check()
    from coeffdream.cli.cells import Where, folders_of, run_study
    from coeffdream.records.study_plan import Study

    arms = options.arms
    plan = Study(
        folders_of([name.strip() for name in options.concepts.split(",")]),
        list(arms),
        arms,
        base="toybox",
        seeds=options.seeds,
        steps=options.steps,
        lr=options.lr,
        images_per_prompt=options.images_per_prompt,
    )
    comparison = run_study(plan, out, Where(jobs=options.jobs), options.arms_text)
    with loading("numpy", "matplotlib"):
        from coeffdream.records.files import write_json
        from coeffdream.studies.methods import finding, pairs
        from coeffdream.studies.methods_figure import draw_methods

    contrasts = list(pairs(comparison))
    figures = draw_methods(contrasts, out / "figure")
    numbers = {
        "options": dataclasses.asdict(options),
        "learning_rate": "one for every arm: that of the base, or --lr",
        "methods": [dataclasses.asdict(row) for row in comparison.rows],
        "alpha_adds": [dataclasses.asdict(each) for each in contrasts],
        "concepts": comparison.concepts,
        "label": comparison.label,
    }
    write_json(out / "numbers.json", numbers)
    if as_json:
        show_json(numbers)
    else:
        show(_table(comparison, contrasts))
        for line in [*finding(contrasts), *([comparison.label] if comparison.label else [])]:
            say(line)
    say(f"figure: {near(figures[0])}; every number: {near(out / 'numbers.json')}")


def _table(comparison: Comparison, contrasts: Sequence[Contrast]) -> Any:
    from coeffdream.records.measures import MEASURES
    from coeffdream.tables import table

    rows = {row.label: row for row in comparison.rows}
    shown = table("what alpha adds, with 95 % intervals")
    shown.add_column("beside", no_wrap=True)
    shown.add_column("share without", justify="right")
    for each in contrasts[0].differences:
        shown.add_column(MEASURES[each.metric].title, justify="right")
    for contrast in contrasts:
        values = []
        for each in contrast.differences:
            digits = MEASURES[each.metric].digits
            low, high = (
                each.difference.low,
                each.difference.high,
            )  # symmetric; "±" leaves room for seven scores
            half = "" if low is None or high is None else f"± {(high - low) / 2:.{digits}f}"
            values.append(f"{each.difference.value:+.{digits}f}\n{half}")
        percent = rows[contrast.baseline].percent
        shown.add_row(contrast.baseline, "-" if percent is None else f"{percent:.4f} %", *values)
    return shown
