"""A set of generated images: set.json says what was asked for, images.jsonl what is there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coeffdream.errors import RunError
from coeffdream.records.fields import record_from_json, record_to_json
from coeffdream.records.files import read_json, read_jsonl, write_json, write_jsonl

# The settings of a set that belong to the adapter: the untouched base has none of them, and two sets that are
# compared may differ in them, which is the point.
OF_THE_ADAPTER = ("adapter", "lora_scale", "alpha_scale")


@dataclass(frozen=True)
class ImageRecord:
    """One line of images.jsonl.

    `template` keeps the placeholder and the word CLASS ("a <V> CLASS in the snow"), `prompt` has
    the class noun in its place, `text` is what the text encoders read. `file` is relative to the
    set's folder. `seed` alone draws the image again.
    """

    index: int
    prompt_index: int
    image_index: int
    template: str
    prompt: str
    text: str
    seed: int
    file: str
    sha256: str


@dataclass(frozen=True)
class SetRecord:
    """set.json: the plan of the whole set. Two sets with equal `settings` hold the same pictures."""

    name: str
    kind: str  # "benchmark" (a whole prompt list), "prompts" (given by hand) or "unrelated" (no concept in them)
    created: str
    prompts: str  # where the prompts came from: live, object, a file name, or "given"
    templates: list[str]
    class_noun: str
    images_per_prompt: int
    settings: dict[str, Any]  # base, adapter hashes, scales, seed, steps, guidance, size, ...

    @property
    def expected(self) -> int:
        return len(self.templates) * self.images_per_prompt

    @property
    def with_adapter(self) -> bool:
        return self.settings.get("adapter") is not None


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

    def write_set(self, record: SetRecord) -> None:
        write_json(self.set_file, record_to_json(record))

    def read_images(self) -> list[ImageRecord]:
        """The images made so far, in manifest order; none when the manifest is not there yet."""
        if not self.manifest.exists():
            return []
        return [record_from_json(ImageRecord, row, self.manifest) for row in read_jsonl(self.manifest)]

    def write_images(self, images: list[ImageRecord]) -> None:
        write_jsonl(self.manifest, [record_to_json(image) for image in images])


def find_set(images: Path, name: str | None) -> SetFolder:
    """The set named, else the newest in a run's images/: one drawn with the adapter before the untouched
    base's, a whole prompt list before prompts given by hand, and unrelated prompts after all others.
    Raises RunError when there is none."""
    if name is not None:
        folder = SetFolder(images / name)
        if not folder.set_file.is_file():
            known = ", ".join(sorted(p.parent.name for p in images.glob("*/set.json"))) or "none"
            raise RunError(f"no set called {name!r} in {images} (there: {known})")
        return folder
    folders = [SetFolder(path.parent) for path in images.glob("*/set.json")]
    if not folders:
        raise RunError(f"{images} holds no generated set; make one with: coeffdream generate")

    def rank(folder: SetFolder) -> tuple[bool, bool, bool, str, str]:
        record = folder.read_set()
        related = record.kind != "unrelated"
        return related, record.with_adapter, record.kind == "benchmark", record.created, record.name

    return max(folders, key=rank)
