"""What the number of heads does, in one picture: alpha's operations and time beside attention's, and what it reaches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from coeffdream.studies.expressiveness import ARMS, SOLVED, Arm, Trained
from coeffdream.studies.figure_files import save_figure
from coeffdream.studies.head_costs import Cost, Timing
from coeffdream.studies.summary import ArmSummary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS: dict[Arm, str] = {"query-key": "#8a8a8a", "query-key-value": "#3c7cc8", "query-key-alpha": "#d65a28"}
SMALLEST = 1e-16  # errors below are rounding


def draw_heads(
    costs: Sequence[Cost],
    timings: Sequence[Timing],
    gains: Sequence[tuple[int, Trained]],
    tuned: Sequence[tuple[int, Sequence[ArmSummary]]],
    stem: Path,
) -> list[Path]:
    """Three panels, and a fourth where small transformers were tuned, as STEM.png and STEM.svg."""
    from matplotlib.figure import Figure

    panels = 3 + bool(tuned)
    figure = Figure(figsize=(3.5 * panels, 3.6), layout="constrained")
    shares, times, reached, *further = figure.subplots(1, panels)
    orange = COLORS["query-key-alpha"]

    shares.barh([cost.model for cost in costs], [100 * cost.operations for cost in costs], color=orange)
    for row, cost in enumerate(costs):
        shares.annotate(
            f" {cost.heads} × {cost.head_width}", (0, row), va="center", fontsize=7, color="white"
        )
    shares.invert_yaxis()
    shares.set_title("operations of mixing, % of attention's", fontsize=9)

    counts = [timing.heads for timing in timings]
    times.plot(counts, [timing.ratio for timing in timings], "o-", color=orange, markersize=4)
    times.axhline(1, color=COLORS["query-key"], linewidth=0.8)
    times.set_xscale("log", base=2)
    times.set_xticks(counts, counts)
    times.set_ylim(bottom=0)
    times.set_xlabel("heads of one layer", fontsize=8)
    times.set_title("measured time, plain attention = 1", fontsize=9)

    for arm, name in ARMS.items():
        mine = [(heads, trained) for heads, trained in gains if trained.arm == arm]
        middles = [max(float(trained.errors[trained.middle]), SMALLEST) for _, trained in mine]
        reached.plot([heads for heads, _ in mine], middles, "o-", color=COLORS[arm], markersize=4, label=name)
    reached.axhline(SOLVED, color=COLORS["query-key"], linewidth=0.8, linestyle=":")
    reached.set_xscale("log", base=2)
    reached.set_yscale("log")
    reached.set_xticks(counts, counts)
    reached.set_xlabel("heads of one layer", fontsize=8)
    reached.set_title("eight points moved: median error", fontsize=9)
    reached.legend(frameon=False, fontsize=7)
    for axes in further:
        _draw_tuned(axes, tuned)
    for axes in (shares, times, reached, *further):
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    return save_figure(figure, stem)


def _draw_tuned(axes: Axes, tuned: Sequence[tuple[int, Sequence[ArmSummary]]]) -> None:
    """What alpha adds to linear probing, with its interval, by the number of heads."""
    orange = COLORS["query-key-alpha"]
    for heads, summary in tuned:
        [gained] = [each for arm in summary if arm.gained for each in arm.gained.values()]
        axes.plot([heads], [100 * gained.value], "o", color=orange, markersize=4)
        if gained.low is not None and gained.high is not None:
            axes.plot([heads, heads], [100 * gained.low, 100 * gained.high], color=orange, linewidth=1.6)
    counts = [heads for heads, _ in tuned]
    axes.axhline(0, color=COLORS["query-key"], linewidth=0.8)
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(heads) for heads in counts])
    axes.set_xlabel("heads of a small ViT", fontsize=8)
    axes.set_title("points that alpha adds, alone", fontsize=9)
