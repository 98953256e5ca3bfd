"""Which runs hold something to hand on."""

from __future__ import annotations

from coeffdream.errors import RunError, listed
from coeffdream.records.run import RunRecord


def check_finished(record: RunRecord, handed_on: str) -> None:
    """Raises RunError unless the run finished a training of its own. handed_on: pushed, exported."""
    if record.parts:
        parts = listed([part.name for part in record.parts])
        raise RunError(f"{record.name} only draws with other runs ({parts}); each of them can be {handed_on}")
    if record.status == "base":
        raise RunError(f"{record.name} holds pictures of the untouched base; name a trained run")
    if record.status != "complete":
        raise RunError(f"{record.name} is {record.status}; only a finished run can be {handed_on}")
