"""`coeffdream sweep`: draw and score every checkpoint of a run, and say which to keep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coeffdream.cli.bases import prepare, warn_of_hours
from coeffdream.cli.options import RunArgument, with_config_options
from coeffdream.cli.runs import the_run
from coeffdream.cli.terminal import ProgressDisplay, loading, near, say, show, show_json, warn
from coeffdream.studies.sweep_options import SweepOptions

if TYPE_CHECKING:
    from coeffdream.records.sweep import SweepRecord


@with_config_options(SweepOptions)
def command(
    typed: dict[str, Any],
    run: RunArgument = None,
    runs: Annotated[Path, typer.Option(help="Where run folders are kept.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print sweep.json.")] = False,
) -> None:
    """Draw and score every checkpoint of a run on a few prompts, and say when it should have stopped.

    Example: coeffdream sweep my_cat-coeff-lora --lora-scale 1,0.7
    """
    from coeffdream.backbones.base import base_of
    from coeffdream.cli.next_step import tell_next
    from coeffdream.records.commands import of_run
    from coeffdream.records.commands import options as words
    from coeffdream.records.fields import record_to_json

    options = SweepOptions(**typed)
    options.check()
    folder = the_run(run, runs)
    record = folder.read()
    base = base_of(record.base)
    with loading("torch", "diffusers"):
        from coeffdream.studies.sweep import sweep, swept_steps
        from coeffdream.studies.sweep_figure import draw_sweep

    swept_steps(folder, record)
    warn_of_hours(base, options.device)
    prepare(base, options.precision, options.device)
    with ProgressDisplay() as progress:
        made = sweep(folder, options, base, progress=progress, warn=warn)
    pictures = draw_sweep(made, folder.path / "sweep")
    for warning in made.warnings:
        warn(warning)
    if as_json:
        show_json(record_to_json(made))
    else:
        show(_table(made))
        if made.label:
            say(made.label)
        say(f"keep {made.why}" if made.kept is not None else f"keep none: {made.why}")
    say(f"picture: {near(pictures[0])}; every number: {near(folder.sweep)}")
    if made.kept is not None:
        kept = made.points[made.kept].measured
        strengths = {
            f"{part}_scale": scale
            for part, scale in (("lora", kept.lora_scale), ("alpha", kept.alpha_scale))
            if scale != 1
        }
        chosen = words(checkpoint=kept.step, **strengths)
        tell_next("generate", *of_run(folder), *chosen, f"<V> {record.class_noun} in snow")


def _table(made: SweepRecord) -> Any:
    from coeffdream.tables import table

    shown = table(f"{made.run}: {len(made.prompts)} prompts x {made.images_per_prompt}, and unrelated ones")
    scaled = len(made.scales) > 1
    headings = ["step", *(["lora", "alpha"] if scaled else [])]
    headings += ["likeness", "text", "drift", "gained", "followed", "unchanged", "worth", ""]
    for heading in headings:
        shown.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    blank = [""] * (2 if scaled else 0)
    levels = made.levels
    shown.add_row(
        "base",
        *blank,
        f"{levels.likeness:.3f}",
        f"{levels.text_alignment:.3f}",
        f"{0:.3f}",
        *["0 %", "100 %", "100 %", ""],
    )
    for place, point in enumerate(made.points):
        one, shares = point.measured, point.shares
        mark = "keep" if place == made.kept else "front" if point.on_front else ""
        shown.add_row(
            f"{one.step:,}",
            *([f"{one.lora_scale:g}", f"{one.alpha_scale:g}"] if scaled else []),
            *(f"{value:.3f}" for value in (one.likeness, one.text_alignment, one.drift)),
            *(f"{100 * share:.0f} %" for share in (shares.gained, shares.followed, shares.unchanged)),
            f"{shares.worth:.2f}",
            mark,
            style="bold" if place == made.kept else None,
        )
    ceiling = "-" if levels.ceiling is None else f"{levels.ceiling:.3f}"
    chance = [f"{levels.text_chance:.3f}", f"{levels.drift_chance:.3f}"]
    shown.add_row("photos", *blank, ceiling, *["", ""], *[""] * 5)
    shown.add_row("chance", *blank, "", *chance, *[""] * 5)
    return shown
