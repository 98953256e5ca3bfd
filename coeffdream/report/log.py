"""train.jsonl as the page reads it: of a run that is done, one that goes on, and one that was cut short."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coeffdream.errors import RunError
from coeffdream.records.files import iter_jsonl
from coeffdream.records.run import RunFolder, RunRecord, State
from coeffdream.report.view import Live

RECENT = 50  # steps


def read_log(run: RunFolder, state: State = "complete") -> list[dict[str, Any]]:
    """The steps of train.jsonl, none when there is no such file. Raises RunError for a damaged one.

    Of a run in training, or killed in it, the last line may be half there.
    """
    if not run.log.is_file():
        return []
    rows = [row for _, row in iter_jsonl(run.log, growing=state in ("training", "killed"))]
    for number, row in enumerate(rows, start=1):
        if not (isinstance(row, dict) and isinstance(row.get("step"), int)):
            raise RunError(f"{run.log}, line {number} is no training step; remove that line")
    return rows


def last_step(log: Sequence[dict[str, Any]]) -> int:
    return int(log[-1]["step"]) if log else 0


def seconds_a_step(log: Sequence[dict[str, Any]]) -> float | None:
    """The mean of the recent steps; None when none says."""
    known = [row["seconds"] for row in log[-RECENT:] if isinstance(row.get("seconds"), (int, float))]
    return sum(known) / len(known) if known else None


def rates(log: Sequence[dict[str, Any]], record: RunRecord) -> str:
    """The learning rates in words."""
    alpha = record.method.startswith("coeff")
    if not log:
        return ""
    words = []
    for key, name, used in (
        ("lr", "learning rate", record.method != "coeff"),
        ("coeff_lr", "alpha’s learning rate", alpha),
    ):
        values = [row[key] for row in log if isinstance(row.get(key), (int, float))]
        if values and used:
            low, high = min(values), max(values)
            words.append(f"{name} {low:g} throughout" if low == high else f"{name} from {low:g} to {high:g}")
    return "; ".join(words)


def progress_of(
    record: RunRecord,
    log: Sequence[dict[str, Any]],
    *,
    pace: float | None = None,
    memory: str = "",
    refresh: int = 5,
) -> Live:
    """How far a training is. pace: seconds a step takes, all in all; None takes the log's, which is without samples."""
    at, steps = last_step(log), record.config.steps
    pace = seconds_a_step(log) if pace is None else pace
    if pace is None:
        return Live(at, steps, "", "", memory, refresh)
    speed = f"{1 / pace:.1f} steps a second" if 0 < pace < 1 else f"{pace:.1f} s a step"
    return Live(at, steps, spoken(pace * (steps - at)), speed, memory, refresh)


def spoken(seconds: float) -> str:
    """ "40 s", "12 min", "3 h 20 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
