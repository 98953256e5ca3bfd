"""What alpha adds beside each method, in one picture: a panel for each score, a row for each method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from coeffdream.compare.result import Contrast
from coeffdream.records.measures import MEASURES
from coeffdream.studies.figure_files import save_figure


def draw_methods(contrasts: Sequence[Contrast], stem: Path) -> list[Path]:
    """Differences with their 95 % intervals, as STEM.png and STEM.svg."""
    from matplotlib.figure import Figure

    metrics = list(dict.fromkeys(each.metric for contrast in contrasts for each in contrast.differences))
    figure = Figure(figsize=(1 + 2.4 * len(metrics), 1 + 0.28 * len(contrasts)), layout="constrained")
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        measure = MEASURES[metric]
        axes.axvline(0, color="#8a8a8a", linewidth=0.8)
        for row, contrast in enumerate(contrasts):
            for each in contrast.differences:
                if each.metric != metric:
                    continue
                shown = each.difference
                if shown.low is not None and shown.high is not None:
                    axes.plot([shown.low, shown.high], [row, row], color="#d65a28", linewidth=1.2)
                axes.plot([shown.value], [row], "o", color="#d65a28", markersize=4)
        less = ", less is better" if measure.less_is_better else ""
        axes.set_title(f"{measure.title}{less}", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(
        range(len(contrasts)), [f"coeff-{each.baseline} less {each.baseline}" for each in contrasts]
    )
    panels[0].invert_yaxis()
    return save_figure(figure, stem)
