"""Fig. 3 of arXiv 2503.18337, drawn anew: where each arm moves the nodes, and the hull that holds two of them back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from coeffdream.studies.expressiveness import ARMS, NODES, SOLVED, TARGETS, Trained
from coeffdream.studies.figure_files import save_figure

ORANGE, BLUE, GRAY = "#d65a28", "#3c7cc8", "#8a8a8a"


def draw_expressiveness(arms: Sequence[Trained], stem: Path) -> list[Path]:
    """A panel of each arm's median seed, as STEM.png and STEM.svg."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Polygon

    figure = Figure(figsize=(3.1 * len(arms), 3.7), layout="constrained")
    for axes, arm in zip(figure.subplots(1, len(arms), squeeze=False)[0], arms, strict=True):
        axes.add_patch(
            Polygon(
                [node for node in NODES if 0 not in node], color=GRAY, alpha=0.15, label="hull of the nodes"
            )
        )
        reached = arm.outputs[arm.middle]
        for target, output in zip(TARGETS, reached, strict=True):
            axes.plot(*zip(target, output, strict=True), color=GRAY, linewidth=0.8)
        axes.scatter(*zip(*TARGETS, strict=True), s=90, facecolors="none", edgecolors=ORANGE, label="target")
        axes.scatter(*zip(*reached, strict=True), s=22, color=BLUE, zorder=3, label="output")
        axes.set_title(
            f"{ARMS[arm.arm]}\nerror {arm.errors[arm.middle]:.2g}, {arm.solved} of {len(arm.errors)} under {SOLVED:g}",
            fontsize=9,
        )
        axes.set(xlim=(-2.6, 2.6), ylim=(-2.6, 2.6), aspect="equal", xticks=(-2, 0, 2), yticks=(-2, 0, 2))
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    return save_figure(figure, stem)
