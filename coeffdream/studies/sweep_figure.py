"""A sweep in one picture: likeness against drift and against text alignment, with the front and what to keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from coeffdream.records.sweep import SweepRecord
from coeffdream.studies.figure_files import save_figure

ORANGE, BLUE, GRAY = "#d65a28", "#3c7cc8", "#8a8a8a"
LINES = ("-", "--", ":", "-.")  # one for each strength, the full one first


def draw_sweep(made: SweepRecord, stem: Path) -> list[Path]:
    """STEM.png and STEM.svg."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _panel(left, made, "drift", 0.0)
    _panel(right, made, "text_alignment", made.levels.text_alignment)
    left.set(
        xlabel="drift on unrelated prompts (CLIP; less is better)", ylabel="likeness (concept alignment)"
    )
    right.set(xlabel="text alignment (more is better)")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.suptitle(_title(made), fontsize=10)
    return save_figure(figure, stem)


def _panel(axes: Any, made: SweepRecord, across: str, untouched: float) -> None:
    """Likeness over one of the other two."""
    for number, (lora, alpha) in enumerate(made.scales):
        points = [
            each
            for each in made.points
            if (each.measured.lora_scale, each.measured.alpha_scale) == (lora, alpha)
        ]
        x = [untouched, *(getattr(each.measured, across) for each in points)]
        y = [made.levels.likeness, *(each.measured.likeness for each in points)]
        name = "checkpoints" if len(made.scales) == 1 else f"lora x {lora:g}, alpha x {alpha:g}"
        axes.plot(x, y, color=GRAY, linestyle=LINES[number % len(LINES)], linewidth=1, zorder=1, label=name)
        for each in points:
            place = (getattr(each.measured, across), each.measured.likeness)
            axes.annotate(
                f"{each.measured.step}", place, xytext=(4, 4), textcoords="offset points", fontsize=7
            )
    for on_front, color, name in ((False, GRAY, "beaten by another"), (True, BLUE, "front")):
        shown = [each.measured for each in made.points if each.on_front == on_front]
        axes.scatter(
            [getattr(each, across) for each in shown],
            [each.likeness for each in shown],
            s=24,
            color=color,
            zorder=3,
            label=name,
        )
    axes.scatter(
        [untouched], [made.levels.likeness], marker="s", s=30, color="black", zorder=3, label="untouched base"
    )
    if made.levels.ceiling is not None:
        axes.axhline(
            made.levels.ceiling, color=GRAY, linewidth=0.8, linestyle=":", label="photos among themselves"
        )
    if made.kept is not None:
        kept = made.points[made.kept].measured
        axes.scatter(
            [getattr(kept, across)],
            [kept.likeness],
            s=150,
            facecolors="none",
            edgecolors=ORANGE,
            linewidths=2,
            zorder=4,
            label="keep",
        )
    axes.spines[["top", "right"]].set_visible(False)


def _title(made: SweepRecord) -> str:
    if made.kept is None:
        return f"{made.run}: no checkpoint to keep"
    kept = made.points[made.kept]
    shares = kept.shares
    return (
        f"{made.run}: keep step {kept.measured.step} (likeness gained {shares.gained:.0%}, prompts followed "
        f"{shares.followed:.0%}, base unchanged {shares.unchanged:.0%})"
    )
