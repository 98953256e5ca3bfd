"""Whether drift can be compared: it is a further metric where every run has it, and left out where not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from coeffdream.compare.pairing import Group, Pairing
from coeffdream.compare.scored import ScoredRun
from coeffdream.records.images import OF_THE_ADAPTER


def settle_drift(pairing: Pairing) -> Pairing:
    """The pairing as it is where every run has its drift, drawn alike inside each concept; else without any.

    A note says why it was left out, unless no run has one.
    """
    runs = [run for group in pairing.groups for run in group.all_runs]
    lacking = [run.name for run in runs if run.scores.drift is None]
    if len(lacking) == len(runs):
        return pairing
    if lacking:
        named = ", ".join(lacking[:4]) + (f" and {len(lacking) - 4} more" if len(lacking) > 4 else "")
        reason = f"{named} have none (coeffdream generate --unrelated, then eval)"
    else:
        differ = sorted(
            {
                field
                for concept in pairing.concepts
                for field in _different([run for group in pairing.groups for run in group.runs[concept]])
            }
        )
        if not differ:
            return pairing
        reason = f"the {', '.join(differ)} of its pictures differ between runs"
    groups = [replace(group, runs=_without(group)) for group in pairing.groups]
    return replace(pairing, groups=groups, notes=[*pairing.notes, f"drift is left out: {reason}"])


def _different(runs: Sequence[ScoredRun]) -> list[str]:
    one, *others = (_drawn(run) for run in runs)
    return [key for key in one if any(other.get(key) != one[key] for other in others)]


def _drawn(run: ScoredRun) -> dict[str, Any]:
    """How the unrelated pictures were drawn, but for the adapter; that bases are alike is checked elsewhere."""
    drift = run.scores.drift
    assert drift is not None
    settings = {
        key: value for key, value in vars(drift.settings).items() if key not in {*OF_THE_ADAPTER, "base"}
    }
    return {"prompts": drift.prompts_sha256, "image seeds": drift.seeds_sha256, "n": drift.n, **settings}


def _without(group: Group) -> dict[str, list[ScoredRun]]:
    return {
        concept: [replace(run, scores=replace(run.scores, drift=None)) for run in runs]
        for concept, runs in group.runs.items()
    }
