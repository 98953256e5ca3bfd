"""What the number of heads does, in one picture: alpha's operations and time beside attention's, and what it reaches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from coeffdream.studies.expressiveness import ARMS, SOLVED, Arm, Trained
from coeffdream.studies.figure_files import save_figure
from coeffdream.studies.head_costs import Cost, Timing

COLORS: dict[Arm, str] = {"query-key": "#8a8a8a", "query-key-value": "#3c7cc8", "query-key-alpha": "#d65a28"}
SMALLEST = 1e-16  # errors below are rounding


def draw_heads(
    costs: Sequence[Cost], timings: Sequence[Timing], gains: Sequence[tuple[int, Trained]], stem: Path
) -> list[Path]:
    """Three panels, as STEM.png and STEM.svg."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 3.6), layout="constrained")
    shares, times, reached = figure.subplots(1, 3)
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
    for axes in (shares, times, reached):
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    return save_figure(figure, stem)
