"""The tables of the studies that compare arms: accuracies, and what an arm has over another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coeffdream.studies.summary import ArmSummary, Mean


def accuracies(summary: Sequence[ArmSummary], cost: Mapping[str, Mapping[str, str]] | None = None) -> Any:
    """A row an arm. `cost`: further columns, each by arm."""
    from coeffdream.tables import table

    columns = cost or {}
    shown = table()
    shown.add_column("trained", no_wrap=True)
    for heading in ("parameters", *columns, *summary[0].accuracy):
        shown.add_column(heading, justify="right")
    for arm in summary:
        *tasks, last = arm.accuracy.values()
        reached = [*(f"{100 * mean.value:.1f}" for mean in tasks), with_interval(last)]
        further = [column[arm.arm] for column in columns.values()]
        shown.add_row(arm.arm, f"{arm.parameters:,}", *further, *reached)
    return shown


def gains(compared: Sequence[ArmSummary], heading: str) -> Any:
    """A row for each arm that is compared, with the corrected p of its last column. `heading`: what an arm is."""
    from coeffdream.tables import table

    shown = table()
    shown.add_column(heading, no_wrap=True)
    for column in (*compared[0].accuracy, "p (Holm)"):
        shown.add_column(column, justify="right")
    for arm in compared:
        gained = [with_interval(mean, "+") for mean in (arm.gained or {}).values()]
        shown.add_row(arm.arm, *gained, "" if arm.p_holm is None else f"{arm.p_holm:.2g}")
    return shown


def with_interval(mean: Mean, sign: str = "") -> str:
    """In percent, with half the width of its interval."""
    value = f"{100 * mean.value:{sign}.1f}"
    if mean.low is None or mean.high is None:
        return value
    return f"{value} ± {50 * (mean.high - mean.low):.1f}"
