"""A run folder: where it is, what run.json says, and which run is the latest."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from coeffdream.config import Precision, TrainConfig
from coeffdream.errors import RunError
from coeffdream.records.base import BaseRecord
from coeffdream.records.claim import (
    Claim,
    attempt,
    claimed,
    confirm,
    create_json,
    is_held,
    is_husk,
    numbered,
)
from coeffdream.records.concept import ConceptRecord
from coeffdream.records.environment import Machine
from coeffdream.records.fields import Count, Text, record_from_json, record_to_json
from coeffdream.records.files import read_json, write_json
from coeffdream.records.latest import LATEST, newest_run, resolve_latest
from coeffdream.records.older import as_called_now

FORMAT = 1

# The files of `adapter/` (see adapters/files.py).
LORA_FILE = "pytorch_lora_weights.safetensors"
COEFF_FILE = "coeff_weights.safetensors"

IMPORTED = "imported-"  # before the kind of an adapter that another tool trained, in place of a method

# What every run that trained has always said of itself. An option that is absent came later: its default was in force.
ALWAYS = {
    "config": ("base", "concept", "method", "seed", "steps", "lr"),
    "base": ("kind", "source", "architecture", "sketch"),
    "parameters": ("trained", "percent"),
}

# What `machine` says of it, which every run has.
USED_PRECISION: dict[str, Precision] = {
    "torch.float32": "fp32",
    "torch.bfloat16": "bf16",
    "torch.float16": "fp16",
}

Status = Literal["training", "interrupted", "failed", "diverged", "complete", "base", "several"]
# What has become of a run: its status, or that nobody is left to change it.
State = Literal["training", "interrupted", "failed", "diverged", "complete", "base", "several", "killed"]


@dataclass(frozen=True)
class Parameters:
    """Trained parameters, also as a share of the UNet's own (`percent`); all 0 for a run that trained nothing. `lora`:
    those beside alpha, whatever the method."""

    unet: Count = 0
    lora: Count = 0
    alpha: Count = 0
    trained: Count = 0
    percent: float = 0.0
    lora_modules: Count = 0
    alpha_layers: Count = 0


@dataclass(frozen=True)
class Validated:
    """What the validation losses of train.jsonl are measured on, and those of the untouched base.

    held_out: whether the photos were kept out of training. departure: how far the adapter is from the base before its
    first step, at most, relative to the largest number that the base predicts; 0 is the base to the last bit.
    """

    photos: list[Text]
    held_out: bool
    validation_loss: float
    class_loss: float
    departure: float | None = None


@dataclass(frozen=True)
class HubRecord:
    """The state of a hub repository that a run was fetched from."""

    repo: Text
    commit: Text


@dataclass(frozen=True)
class Part:
    """A run whose adapter draws beside those of others: <V1> is the first of them, <V2> the second, ...

    `name` is its folder's; `adapter`: sha256 of its files, by name.
    """

    name: Text
    folder: Text
    method: str
    class_noun: Text
    token: Text
    adapter: dict[str, str]
    concept: ConceptRecord | None = None


@dataclass(frozen=True)
class RunRecord:
    """run.json: everything needed to say what this run was and to make it again.

    `status` is "base" for a run that trains nothing and only holds pictures of the untouched base model, "several"
    for one that holds pictures drawn with the adapters of other runs, its `parts`; their `config` is that of
    nothing. `adapter`: sha256 of the files that were trained, by name. `notes`: what was odd about the training,
    one line each. `attention`: the backend that each shape of mixed attention took, which the run goes on with.
    `hub`: where it was fetched from, if it was not trained here.
    """

    name: Text
    status: Status
    created: str
    method: str
    config: TrainConfig
    base: BaseRecord
    class_noun: Text
    token: Text
    concept: ConceptRecord | None = None
    parameters: Parameters = Parameters()
    versions: dict[str, str] = field(default_factory=dict)
    machine: Machine = Machine()
    steps_done: Count = 0
    adapter: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    attention: dict[str, str] = field(default_factory=dict)
    hub: HubRecord | None = None
    parts: list[Part] = field(default_factory=list)
    validation: Validated | None = None
    format: int = FORMAT

    @property
    def precision(self) -> Precision:
        """Of the base as it was used; the config of older runs may say no more than auto."""
        if self.config.precision != "auto":
            return self.config.precision
        return USED_PRECISION.get(self.machine.precision or "", "auto")

    @property
    def imported(self) -> bool:
        """Whether another tool trained it; then `config` says nothing of how."""
        return self.method.startswith(IMPORTED)

    @property
    def trains(self) -> bool:
        """Whether there is a training behind it."""
        return self.status not in ("base", "several")

    @property
    def concepts(self) -> list[ConceptRecord]:
        """What it learned, or what its parts did."""
        own = [part.concept for part in self.parts] or [self.concept]
        return [concept for concept in own if concept]

    @property
    def tokens(self) -> str | list[str]:
        """What <V> becomes in the text encoders, or what <V1>, <V2>, ... become."""
        return [part.token for part in self.parts] or self.token

    @property
    def class_nouns(self) -> str | list[str]:
        """Of the thing that <V> is, or of those that <V1>, <V2>, ... are."""
        return [part.class_noun for part in self.parts] or self.class_noun


@dataclass(frozen=True)
class RunFolder:
    """The paths inside `runs/NAME/`."""

    path: Path

    @property
    def record_file(self) -> Path:
        return self.path / "run.json"

    @property
    def adapter(self) -> Path:
        return self.path / "adapter"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def log(self) -> Path:
        return self.path / "train.jsonl"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def images(self) -> Path:
        return self.path / "images"

    @property
    def scores(self) -> Path:
        return self.path / "scores.json"

    @property
    def sweep(self) -> Path:
        return self.path / "sweep.json"

    def read(self) -> RunRecord:
        value = as_called_now(read_json(self.record_file))
        record = record_from_json(RunRecord, value, self.record_file)
        problems = [f"config {problem}" for problem in record.config.problems()]
        if record.trains:
            problems += _lacking(value)
        if problems:
            raise RunError(f"{self.record_file}: {'; '.join(problems)}; restore that file")
        return record

    def look(self) -> tuple[RunRecord, State]:
        """run.json, and its status; "killed" for a training that no process is at any more."""
        record = self.read()
        if record.status == "training" and not is_held(self.path):
            record = self.read()  # it may have ended between the two
            return record, "killed" if record.status == "training" else record.status
        return record, record.status

    def create(self, record: RunRecord) -> bool:
        """Write run.json unless there is one; whether it was written."""
        return create_json(self.record_file, record_to_json(record))

    def write(self, record: RunRecord) -> None:
        """Write run.json over the one that is there. Raises RunError when the run was claimed and is lost."""
        confirm(self.path)
        write_json(self.record_file, record_to_json(record))


def _lacking(value: dict[str, Any]) -> list[str]:
    """What a run that trained should say of itself and does not."""
    return [
        f"{part} lacks {name}"
        for part, names in ALWAYS.items()
        for name in names
        if name not in value.get(part, {})
    ]


def find_run(run: str | None, runs: Path) -> RunFolder:
    """The run named (a path, or a name inside `runs`), or the latest one when none is named."""
    if run is None:
        found = newest_run(runs)
        if found is not None:
            return RunFolder(found)
        if any(runs.glob("*/run.json")):
            raise RunError(f"{runs / LATEST} leads to no run; name one with --run ({_known(runs)})")
        raise RunError(f"no run in {runs} yet; start with: coeffdream train --concept FOLDER")
    for folder in (Path(run), runs / run):
        if folder.name == LATEST:
            found = resolve_latest(folder)
            if found is not None:
                return RunFolder(found)
        elif (folder / "run.json").is_file():
            return RunFolder(folder.resolve())
    raise RunError(f"no run called {run!r} ({_known(runs)})")


def _known(runs: Path) -> str:
    known = sorted(path.parent.name for path in runs.glob("*/run.json") if path.parent.name != LATEST)
    return f"runs there: {', '.join(known[-8:])}" if known else f"{runs} holds no run"


@contextlib.contextmanager
def new_run(name: str, runs: Path) -> Iterator[RunFolder]:
    """Hold the folder of a new run, empty until its run.json is created; it goes again if that never happens.

    A name already taken gets -2, -3, ... so that nothing is overwritten. A folder that a killed process left
    without a run.json is taken over.
    """
    for folder in numbered(runs / name):
        if folder.is_symlink() or (folder.exists() and not (folder.is_dir() and is_husk(folder))):
            continue
        claim = attempt(folder, "train")
        if claim is None:
            continue
        try:
            if is_husk(claim.folder):  # else a neighbour made its run of it just now
                yield RunFolder(claim.folder)
                return
        finally:
            claim.release()


def held_run(run: RunFolder, doing: str) -> contextlib.AbstractContextManager[Claim]:
    """Hold a run that is there. Raises InUseError when another process does."""
    return claimed(run.path, doing, f"run {run.path.name}", "wait until that has ended")
