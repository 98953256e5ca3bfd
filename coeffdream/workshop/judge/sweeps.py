"""Whether the checkpoint that a sweep keeps is the right one, in the eyes of the judge: traits, places and other things kept.

No score of the sweep is looked at, only its pictures and what it named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from coeffdream.errors import RunError
from coeffdream.metrics.encoder_choice import TOYBOX
from coeffdream.records.images import SetFolder
from coeffdream.records.run import RunFolder, RunRecord
from coeffdream.records.sweep import SweepRecord, read_sweep
from coeffdream.toybox.world.concepts import CONCEPTS
from coeffdream.toybox.world.individual import Individual
from coeffdream.workshop.judge.classifier import Judge
from coeffdream.workshop.judge.personal import FOLLOWED, looked_at, own_match, place_kept, things_kept


@dataclass(frozen=True)
class Seen:
    """What the judge sees at a step: shares of the individual's own traits, of the places asked for, and of what was
    asked for on pictures of other things, their kind and their color."""

    traits: float
    places: float
    others: float


@dataclass(frozen=True)
class Stopping:
    """A swept run at full strength, step by step, beside the untouched base. `kept`: the step that the sweep names."""

    run: str
    base: Seen
    steps: dict[int, Seen]
    kept: int | None

    def gained(self, step: int) -> float:
        """The share of the traits that the untouched base lacks."""
        return (self.steps[step].traits - self.base.traits) / max(1 - self.base.traits, 1e-9)

    def worth(self, step: int) -> float:
        """Of three shares: what overtraining costs in this world is paid by other things first."""
        return max(0.0, self.gained(step)) * self.steps[step].places * self.steps[step].others

    @property
    def overtrained(self) -> bool:
        """Whether an earlier step was clearly better than the last: by a tenth of worth."""
        return max(map(self.worth, self.steps)) > self.worth(max(self.steps)) + 0.1

    @property
    def rightly(self) -> bool:
        """An earlier step than the last, no worse than it, with half of the best step's traits and the base's places."""
        if self.kept is None or self.kept == max(self.steps):
            return False
        enough = self.gained(self.kept) >= max(map(self.gained, self.steps)) / 2
        in_place = self.steps[self.kept].places >= FOLLOWED * self.base.places
        return enough and in_place and self.worth(self.kept) >= self.worth(max(self.steps))


def judge_sweeps(judge: Judge, runs: Path) -> list[Stopping]:
    """Of every swept toybox run of a shipped concept in `runs`. Raises RunError when there is none."""
    individuals = {concept.name: concept.individual for concept in CONCEPTS}
    found = []
    for file in sorted(runs.glob("*/sweep.json")):
        run, record = RunFolder(file.parent), RunFolder(file.parent).read()
        sweep = read_sweep(run)
        name = record.concept.name if record.concept else ""
        if sweep and not file.parent.is_symlink() and record.base.kind == TOYBOX and name in individuals:
            found.append(_judged(judge, run, record, sweep, individuals[name]))
    if not found:
        raise RunError(
            f"{runs} holds no swept toybox run of a shipped concept; make one with: coeffdream sweep RUN"
        )
    return found


def _judged(
    judge: Judge, run: RunFolder, record: RunRecord, sweep: SweepRecord, individual: Individual
) -> Stopping:
    def seen(name: str) -> Seen:
        _, read, wishes = looked_at(judge, record, SetFolder(run.path / "sweep" / name))
        traits, places = own_match(read, wishes, individual), place_kept(read, wishes)
        _, unrelated, asked = looked_at(judge, record, SetFolder(run.path / "sweep" / f"{name}-unrelated"))
        others = things_kept(unrelated, asked)
        return Seen(*(float(np.nanmean(each)) for each in (traits, places, others)))

    full = [
        each.measured for each in sweep.points if each.measured.lora_scale == each.measured.alpha_scale == 1
    ]
    kept = None if sweep.kept is None else sweep.points[sweep.kept].measured
    return Stopping(
        record.name,
        seen("base"),
        {each.step: seen(each.set) for each in full},
        kept.step if kept in full else None,
    )


def as_text(stoppings: Sequence[Stopping]) -> str:
    """A line for each step of each run, and how many sweeps named a step rightly."""
    lines = ["run                step   traits  places  others  traits gained x places x others"]
    for each in stoppings:
        lines.append(
            f"{each.run:18} base   {each.base.traits:6.2f} {each.base.places:7.0%} {each.base.others:7.0%}"
        )
        for step, seen in each.steps.items():
            note = "  keep" if step == each.kept else ""
            lines.append(
                f"{'':18} {step:4} {seen.traits:8.2f} {seen.places:7.0%} {seen.others:7.0%} {each.worth(step):6.2f}{note}"
            )
    right = sum(each.rightly for each in stoppings)
    too_long = [each for each in stoppings if each.overtrained]
    last = sum(each.kept == max(each.steps) for each in too_long)
    lines.append(
        f"{right} of {len(stoppings)} sweeps name an earlier step rightly; of {len(too_long)} runs that an earlier step "
        f"clearly beats, {last} sweeps name the last"
    )
    return "\n".join(lines)
