"""A set of generated images: set.json says what was asked for, images.jsonl what is there."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Literal

from coeffdream.config import BasePrecision
from coeffdream.errors import RunError
from coeffdream.records.base import BaseRecord
from coeffdream.records.claim import create_json
from coeffdream.records.fields import Count, Positive, Text, record_from_json, record_to_json
from coeffdream.records.files import iter_jsonl, json_line, read_json, replacing, sync

# The settings of a set that belong to the adapter: the untouched base has none of them, and two sets that are
# compared may differ in them, which is the point.
OF_THE_ADAPTER = ("adapter", "loras", "weights", "lora_scale", "alpha_scale", "checkpoint", "folded")


@dataclass(frozen=True)
class ImagePlan:
    """One image of a set, drawn or not. Drawing `text` with `seed` alone gives the same image as drawing the set.

    `template` keeps the placeholder and the word CLASS ("a <V> CLASS in the snow"), `prompt` has
    the class noun in its place, `text` is what the text encoders read. `file` lies in the set's folder.
    """

    index: Count
    prompt_index: Count
    image_index: Count
    template: str
    prompt: str
    text: str
    seed: Count
    file: str

    def __post_init__(self) -> None:
        if PurePath(self.file).name != self.file or self.file in ("", "..") or {"\0", "\\"} & {*self.file}:
            raise ValueError(f"file {self.file!r:.60} is no plain file name")


@dataclass(frozen=True)
class ImageRecord(ImagePlan):
    """One line of images.jsonl: an image as it was drawn."""

    sha256: str


@dataclass(frozen=True)
class SetSettings:
    """How a set was drawn. `adapter`: sha256 of its files by name; None, as the scales, for the untouched base.

    loras: weights of the adapters of other tools among them, by sha256. weights: of the runs whose adapters drew
    together, by name, which then stands before the names of their files. checkpoint: the step by which the adapter
    was learned; None for a finished one. vae_tiling: whether the VAE decoded in tiles. base_precision: of the weights
    of the UNet's blocks; auto for that of the base. folded: whether what was learned was put into the weights. compiled:
    whether the UNet's blocks were.
    """

    base: BaseRecord
    adapter: dict[str, str] | None
    lora_scale: float | None
    alpha_scale: float | None
    token: Text
    seed: Count
    steps: Positive
    guidance_scale: float
    negative: str
    size: Positive
    scheduler: str
    precision: str
    loras: dict[str, float] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    checkpoint: Positive | None = None
    vae_tiling: bool = False
    base_precision: BasePrecision = "auto"
    folded: bool = False
    compiled: bool = False

    def differing(self, other: SetSettings) -> list[str]:
        """Names of the settings in which two sets differ."""
        names = [field.name for field in dataclasses.fields(self)]
        return [name for name in names if getattr(self, name) != getattr(other, name)]


SetKind = Literal["benchmark", "prompts", "unrelated"]  # a whole list, given by hand, no concept in them


@dataclass(frozen=True)
class SetRecord:
    """set.json: the plan of the whole set. Two sets with equal `settings` hold the same pictures."""

    name: Text
    kind: SetKind
    created: str
    prompts: str  # where the prompts came from: live, object, a file name, or "given"
    templates: list[str]
    class_noun: Text
    images_per_prompt: Positive
    settings: SetSettings
    device: str = ""  # the kind that it was begun on: cpu, or the name of the card; unknown of older sets

    @property
    def expected(self) -> int:
        return len(self.templates) * self.images_per_prompt

    @property
    def with_adapter(self) -> bool:
        return self.settings.adapter is not None


@dataclass(frozen=True)
class SetFolder:
    """The paths inside `runs/NAME/images/SET/`."""

    path: Path

    @property
    def set_file(self) -> Path:
        return self.path / "set.json"

    @property
    def manifest(self) -> Path:
        return self.path / "images.jsonl"

    @property
    def contact_sheet(self) -> Path:
        return self.path / "sheet.jpg"

    def read_set(self) -> SetRecord:
        return record_from_json(SetRecord, read_json(self.set_file), self.set_file)

    def create(self, record: SetRecord) -> bool:
        """Write set.json unless there is one; whether it was written."""
        return create_json(self.set_file, record_to_json(record))

    def read_images(self) -> list[ImageRecord]:
        """The images made so far, in manifest order; none when the manifest is not there yet."""
        return [image for _, image in self.rows()]

    def rows(self) -> Iterator[tuple[int, ImageRecord]]:
        """As `read_images`, one at a time (a set may be larger than memory), each with the byte its row begins at."""
        if self.manifest.exists():
            for number, (offset, row) in enumerate(iter_jsonl(self.manifest, growing=True)):
                yield offset, record_from_json(ImageRecord, row, f"{self.manifest}: [{number}]")

    def append_images(self, images: Iterable[ImageRecord]) -> None:
        """Add rows to a manifest that ends with a whole one, as `keep_images` leaves it."""
        with self.manifest.open("ab") as stream:
            stream.write(b"".join(json_line(record_to_json(image)) for image in images))
        sync(self.manifest)

    def keep_images(self, offsets: Mapping[int, int]) -> None:
        """Leave these rows alone in the manifest, in the order of their index; `offsets` has the byte of each."""
        if not self.manifest.exists():
            return
        with (
            self.manifest.open("rb") as old,
            replacing(self.manifest) as temporary,
            temporary.open("wb") as new,
        ):
            for index in sorted(offsets):
                old.seek(offsets[index])
                new.write(old.readline().rstrip(b"\n") + b"\n")


def find_set(images: Path, name: str | None) -> SetFolder:
    """The set named, else the newest in a run's images/: one drawn with the adapter before the untouched
    base's, with the finished one before those of checkpoints, a whole prompt list before prompts given by hand, and
    unrelated prompts after all others. Raises RunError when there is none."""
    if name is not None:
        folder = SetFolder(images / name)
        if not folder.set_file.is_file():
            known = ", ".join(sorted(p.parent.name for p in images.glob("*/set.json"))) or "none"
            raise RunError(f"no set called {name!r} in {images} (there: {known})")
        return folder
    folders = [SetFolder(path.parent) for path in images.glob("*/set.json")]
    if not folders:
        raise RunError(
            f"{images} holds no generated set; make one with: coeffdream generate --run {shlex.quote(str(images.parent))}"
        )

    def rank(folder: SetFolder) -> tuple[bool, bool, bool, bool, str, str]:
        record = folder.read_set()
        related, finished = record.kind != "unrelated", record.settings.checkpoint is None
        return related, record.with_adapter, finished, record.kind == "benchmark", record.created, record.name

    return max(folders, key=rank)
