"""Which runs are compared with which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from coeffdream.compare.alike import (
    DRAWING,
    ENCODERS,
    EVERYWHERE,
    INSIDE_A_CONCEPT,
    INSIDE_A_SEED,
    MASKS,
    refuse_different,
)
from coeffdream.compare.scored import ScoredRun
from coeffdream.config import TrainConfig
from coeffdream.errors import ConfigError, ScoreError, listed, quoted
from coeffdream.records.study import StudyFolder
from coeffdream.records.study_plan import Cell, Study

# Fields of run.json's config that change nothing that is learned, or that make up the pairing itself.
NOT_TRAINING = {
    *("base", "revision", "base_config", "prediction"),  # told by the base's weights, and how they are read
    *("concept", "class_noun", "method", "seed", "name", "runs", "device"),
    *("sample_every", "checkpoint_every", "checkpoint_gb", "log_with", "vae_tiling", "offload"),
    *("gradient_checkpointing", "deterministic", "compile"),  # the same but for rounding
}


@dataclass(frozen=True)
class Group:
    """What one row of the table stands for: a run, or every run of a method or of a study's arm.

    `runs[concept]` holds one run for each training seed, in the same order in every group. `against`: the label of
    the group that it is compared with, where a study says so.
    """

    label: str
    method: str
    runs: dict[str, list[ScoredRun]]
    against: str | None = None

    @property
    def all_runs(self) -> list[ScoredRun]:
        return [run for runs in self.runs.values() for run in runs]


@dataclass(frozen=True)
class Pairing:
    """Groups that may be compared; the first is compared with nothing.

    `grouped`: a group is a method, not one run. `notes`: what a reader has to know.
    """

    groups: list[Group]
    grouped: bool
    notes: list[str] = field(default_factory=list)

    @property
    def concepts(self) -> list[str]:
        return list(self.groups[0].runs)

    def baseline_of(self, group: Group) -> Group:
        """What `group` is compared with: what its study says, else coeff-lora and coeff-dora with the first lora and
        dora, else the first."""
        if self.grouped:
            for each in self.groups:
                if each.label == group.against:
                    return each
            for each in self.groups:
                if group.method == f"coeff-{each.method}":
                    return each
        return self.groups[0]


def pair_runs(runs: Sequence[ScoredRun], baseline: str | None = None) -> Pairing:
    """Each run a group of its own, in one order whatever that of `runs`: lora before coeff-lora, then by name.

    The first is the baseline, or the one of that name. Raises ScoreError for unequal ones, ConfigError where none
    is called `baseline`.
    """
    _at_least_two(runs, "runs", "name two of the same concept")
    runs = sorted(runs, key=lambda run: (_plain_twin_first(run.record.method), run.name, str(run.path)))
    if baseline is not None:
        named = [
            run
            for run in runs
            if baseline in (run.name, str(run.path)) or Path(baseline).resolve() == run.path
        ]
        if not named:
            raise ConfigError(
                f"--baseline {quoted(baseline)} is none of the runs to compare ({listed([run.name for run in runs])})"
            )
        runs = [named[0], *(run for run in runs if run is not named[0])]
    first = runs[0]
    for other in runs[1:]:
        if other.concept != first.concept:
            raise ScoreError(
                f"concept differs: {first.concept!r} in {first.name}, {other.concept!r} in {other.name}; "
                "several concepts are compared with --by method, both methods on each of them"
            )
    names = [run.name for run in runs]
    labels = names if len(set(names)) == len(names) else [str(run.path) for run in runs]
    groups = [
        Group(label, run.record.method, {first.concept: [run]})
        for label, run in zip(labels, runs, strict=True)
    ]
    notes = []
    seeds = {run.seed for run in runs}
    if len(seeds) > 1:
        notes.append(f"training seeds differ ({', '.join(map(str, sorted(seeds, key=str)))})")
    return _checked(Pairing(groups, False, notes))


def pair_by_method(
    runs: Sequence[ScoredRun],
    concepts: Sequence[str] = (),
    arms: Sequence[str] | None = None,
    against: Mapping[str, str | None] | None = None,
) -> Pairing:
    """Runs grouped by method: lora, coeff-lora, dora, coeff-dora, then others, in whatever order the runs come.

    concepts: their order, a study's own; any others follow by name. Resampling draws by place: were it the order
    of the runs, that would move the last digit of an interval. Kept are the (concept, training seed) that every
    method has; the notes name the others. arms: of each run the arm of a study, in whose place they are grouped then,
    in the order of `against`, which says of each what it is compared with.

    Raises ScoreError for two runs of one cell, for methods with no cell in common, and for unequal runs.
    """
    methods: dict[str, dict[tuple[str, int | None], ScoredRun]] = {}
    against = against or {}
    for run, arm in zip(runs, arms or [run.record.method for run in runs], strict=True):
        cells = methods.setdefault(arm, {})
        before = cells.setdefault((run.concept, run.seed), run)
        if before is not run:
            raise ScoreError(
                f"{before.name} and {run.name} are both {arm} on {run.concept!r} with "
                f"training seed {run.seed}; give one of them"
            )
    _at_least_two(list(methods), "methods", "give runs of a baseline method and of another")
    order = [arm for arm in against if arm in methods] if arms else sorted(methods, key=_plain_twin_first)
    methods = {method: methods[method] for method in order}
    place = {concept: index for index, concept in enumerate(dict.fromkeys(concepts))}
    shared = sorted(
        (cell for cell in next(iter(methods.values())) if all(cell in cells for cells in methods.values())),
        key=lambda cell: (place.get(cell[0], len(place)), cell[0], -1 if cell[1] is None else cell[1]),
    )
    if not shared:
        raise ScoreError(
            f"{' and '.join(methods)} have no concept and training seed in common; train each on the same"
        )
    unmatched = [run.name for cells in methods.values() for cell, run in cells.items() if cell not in shared]
    unmatched.sort()
    notes = []
    if unmatched:
        notes.append(f"left out, not matched on concept and training seed: {', '.join(unmatched)}")
    groups = []
    for label, cells in methods.items():
        by_concept: dict[str, list[ScoredRun]] = {}
        for cell in shared:
            by_concept.setdefault(cell[0], []).append(cells[cell])
        method = cells[shared[0]].record.method
        groups.append(Group(label, method, by_concept, against.get(label)))
    for group in groups:
        refuse_different(group.all_runs, [("trained parameters (percent)", lambda run: run.percent)])
    return _checked(Pairing(groups, True, notes))


def pair_study(study: Study, cells: Sequence[Cell], runs: Sequence[ScoredRun]) -> Pairing:
    """The finished `cells` of a study and their runs, grouped by arm. Raises as `pair_by_method` does."""
    concepts = [run.concept for run in runs]
    if not study.arms:
        return pair_by_method(runs, concepts)
    against = {arm: study.baseline_of(arm) for arm in study.methods}
    return pair_by_method(runs, concepts, [cell.arm for cell in cells], against)


def pair_by_arm(runs: Sequence[ScoredRun]) -> Pairing:
    """As their study has them, where all are cells of one: by arm, of which two may be of one method. Else by method.

    Raises as `pair_by_method` does, RunError for a damaged study.json.
    """
    folders = {run.path.resolve().parents[1] for run in runs}
    study = StudyFolder(folders.pop()) if len(folders) == 1 else None
    if study is None or not study.record_file.is_file():
        return pair_by_method(runs)
    plan, named = study.read(), {run.path.name: run for run in runs}
    cells = [cell for cell in plan.cells if cell.name in named]
    if len(cells) < len(runs):
        return pair_by_method(runs)
    return pair_study(plan, cells, [named[cell.name] for cell in cells])


def _plain_twin_first(method: str) -> tuple[int, str, bool]:
    """A shell sorts coeff-lora before lora, whose baseline it would become."""
    low_rank = method.removeprefix("coeff-")
    return ("lora", "dora", low_rank).index(low_rank), low_rank, method != low_rank


def _at_least_two(given: Sequence[Any], what: str, remedy: str) -> None:
    if len(given) < 2:
        raise ConfigError(f"{len(given)} of the two {what} that a comparison needs; {remedy}")


def _checked(pairing: Pairing) -> Pairing:
    """Refuse unequal runs; note the training settings that differ."""
    everything = [run for group in pairing.groups for run in group.all_runs]
    everywhere = [each for each in ENCODERS if all(each in run.scores.encoders.used for run in everything)]
    refuse_different(everything, [*(field for each in everywhere for field in ENCODERS[each]), *EVERYWHERE])
    for encoder in ENCODERS.keys() - everywhere:
        refuse_different(
            [run for run in everything if encoder in run.scores.encoders.used], ENCODERS[encoder]
        )
    for concept in pairing.concepts:
        of_concept = [run for group in pairing.groups for run in group.runs[concept]]
        refuse_different(of_concept, [*INSIDE_A_CONCEPT, *DRAWING])
        refuse_different(
            [run for run in of_concept if run.scores.overall.subject_alignment is not None], MASKS
        )
        for of_seed in zip(*(group.runs[concept] for group in pairing.groups), strict=True):
            refuse_different(of_seed, INSIDE_A_SEED)
        for run in of_concept:
            if run.scores.set.seeds_sha256 is None:
                raise ScoreError(
                    f"the image seeds of {run.name} are not known, so its pictures cannot be paired; "
                    "draw them with coeffdream generate"
                )
    configs = [
        replace(run.record.config, precision=run.record.precision)
        for run in everything
        if not run.record.imported
    ]
    differ = sorted(
        key
        for key in {each.name for each in fields(TrainConfig)} - NOT_TRAINING
        if any(getattr(one, key) != getattr(other, key) for one, other in pairwise(configs))
    )
    notes = list(pairing.notes)
    if differ:
        notes.append(f"trained with different {', '.join(differ)}: the difference may be due to that")
    if strangers := [run.name for run in everything if run.record.imported]:
        notes.append(
            f"another tool trained {', '.join(strangers)}, with what settings is not known: the difference may be due to that"
        )
    return replace(pairing, notes=notes)
