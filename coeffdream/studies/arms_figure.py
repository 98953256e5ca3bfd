"""The accuracies of a study in one picture: a panel for every task, an arm a row, those with alpha in orange."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from coeffdream.studies.figure_files import save_figure
from coeffdream.studies.summary import ALL, ArmSummary, Result

ORANGE, BLUE, GRAY = "#d65a28", "#3c7cc8", "#8a8a8a"


def draw_arms(
    summary: Sequence[ArmSummary],
    results: Sequence[Result],
    with_alpha: Collection[str],
    measured: str,
    stem: Path,
) -> list[Path]:
    """STEM.png and STEM.svg: every training a dot, the mean a bar's middle, its 95 % interval the bar.

    `measured`: what the accuracy is a share of, such as "test pictures".
    """
    from matplotlib.figure import Figure

    panels = list(summary[0].accuracy)
    figure = Figure(figsize=(1.2 + 2.1 * len(panels), 1.2 + 0.3 * len(summary)), layout="constrained")
    rows = range(len(summary))
    for axes, panel in zip(
        figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels, strict=True
    ):
        for row, arm in zip(rows, summary, strict=True):
            color = ORANGE if arm.arm in with_alpha else BLUE
            dots = [100 * each.accuracy for each in results if (each.task, each.arm) == (panel, arm.arm)]
            axes.scatter(dots, [row] * len(dots), s=10, color=GRAY, alpha=0.6, linewidths=0)
            mean = arm.accuracy[panel]
            axes.scatter([100 * mean.value], [row], s=26, color=color, zorder=3)
            if mean.low is not None and mean.high is not None:
                axes.plot([100 * mean.low, 100 * mean.high], [row, row], color=color, linewidth=1.6, zorder=2)
        axes.set_title("mean over tasks" if panel == ALL else panel, fontsize=9)
        axes.set_yticks(rows, [arm.arm for arm in summary], fontsize=8)
        axes.tick_params(axis="x", labelsize=7)
        axes.grid(axis="x", color=GRAY, alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].invert_yaxis()
    figure.supxlabel(f"accuracy, % of {measured}", fontsize=8)
    return save_figure(figure, stem)
