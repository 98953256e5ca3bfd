"""`coeffdream study`: the paper's own experiments, small enough to run anywhere."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coeffdream.cli import study_ablation, study_heads, study_methods, study_vit, study_vqa
from coeffdream.cli.options import with_config_options
from coeffdream.cli.terminal import ProgressDisplay, near, say, show, show_json
from coeffdream.studies.options import ExpressivenessOptions

if TYPE_CHECKING:
    from coeffdream.studies.expressiveness import Trained

app = typer.Typer(help="Repeat the paper's own experiments.")


@app.callback()
def _group() -> None: ...


app.command("ablation")(study_ablation.command)
app.command("heads")(study_heads.command)
app.command("methods")(study_methods.command)
app.command("vit")(study_vit.command)
app.command("vqa")(study_vqa.command)


@app.command("expressiveness")
@with_config_options(ExpressivenessOptions)
def expressiveness(
    typed: dict[str, Any],
    out: Annotated[Path, typer.Option(help="Folder for the figure and every number.")] = Path(
        "study-expressiveness"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print every number as JSON.")] = False,
) -> None:
    """What one attention layer can express, with and without the coefficients (Section 4.1, Fig. 3).

    Example: coeffdream study expressiveness --heads 4
    """
    options = ExpressivenessOptions(**typed)
    options.check()
    from coeffdream.records.files import write_json
    from coeffdream.studies.expressiveness import ARMS, HULL_FLOOR, SOLVED, train_arm
    from coeffdream.studies.expressiveness_figure import draw_expressiveness

    out.mkdir(parents=True, exist_ok=True)
    with ProgressDisplay() as progress:
        arms = [train_arm(arm, options, progress) for arm in ARMS]
    figures = draw_expressiveness(arms, out / "figure")
    numbers = {
        "options": dataclasses.asdict(options),
        "hull_floor": HULL_FLOOR,
        "solved_below": SOLVED,
        "arms": {
            arm.arm: {
                "solved": arm.solved,
                "errors": arm.errors.tolist(),
                "mixing": arm.mixing.tolist(),
                "outputs": arm.outputs.tolist(),
            }
            for arm in arms
        },
    }
    write_json(out / "numbers.json", numbers)
    if as_json:
        show_json(numbers)
    else:
        show(_table(arms))
        say(
            f"mean squared error over {options.seeds} seeds, {options.heads} head{'s' * (options.heads > 1)}; "
            f"W_q and W_k alone cannot come below {HULL_FLOOR:g}, the distance of the targets from the hull"
        )
    say(f"figure: {near(figures[0])}; every number: {near(out / 'numbers.json')}")


def _table(arms: list[Trained]) -> Any:
    from coeffdream.studies.expressiveness import ARMS, SOLVED
    from coeffdream.tables import table

    shown = table()
    shown.add_column("trained", no_wrap=True)
    for heading in ("median error", "least", "most", f"seeds under {SOLVED:g}"):
        shown.add_column(heading, justify="right")
    for arm in arms:
        errors = (arm.errors[arm.middle], arm.errors.min(), arm.errors.max())
        shown.add_row(
            ARMS[arm.arm], *(f"{error:.2g}" for error in errors), f"{arm.solved} of {len(arm.errors)}"
        )
    return shown
