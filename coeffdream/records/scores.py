"""scores.json: what one set of pictures scored, with all that a comparison or a report needs to judge it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from coeffdream.errors import RunError
from coeffdream.records.fields import record_from_json, record_to_json
from coeffdream.records.files import read_json, write_json

FORMAT = 1
EMBEDDED_LABEL = "embedded scorers: not comparable with published numbers"


@dataclass(frozen=True)
class ImageScore:
    """One picture. The lists hold one cosine per reference, in the order of `ScoresRecord.references`."""

    index: int
    prompt_index: int
    image_index: int
    seed: int | None
    file: str
    sha256: str
    text_alignment: float
    concept_alignment: float | None
    dino_alignment: float | None
    nearest: float | None
    concept_by_reference: list[float] = field(default_factory=list)
    dino_by_reference: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class PromptScore:
    """One prompt: means over its n pictures, Vendi among them, and Vendi of the set without them.

    `diversity` is None for a single picture, `diversity_without` (the delete-one-prompt jackknife
    value) when there is no other prompt.
    """

    prompt_index: int
    template: str
    text: str
    n: int
    text_alignment: float
    concept_alignment: float | None
    dino_alignment: float | None
    nearest: float | None
    diversity: float | None
    diversity_without: float | None


@dataclass(frozen=True)
class Summary:
    """The scores of a whole set of n pictures. None stands for what cannot be measured on it.

    `within_prompt` is the mean over prompts of the Vendi score among the pictures of one prompt;
    `nearest_*` describe each picture's cosine with the reference most like it.
    """

    n: int
    prompts: int
    images_per_prompt: int
    references: int
    text_alignment: float | None
    concept_alignment: float | None
    diversity: float
    diversity_q: int
    within_prompt: float | None
    dino_alignment: float | None
    nearest_mean: float | None
    nearest_p95: float | None
    nearest_max: float | None


@dataclass(frozen=True)
class DriftImage:
    """One unrelated prompt and seed: the adapter's picture `file` beside the base's picture `base_file`.

    `dino`, `clip`: 1 - cosine of the two pictures' features, 0 for equal ones.
    """

    prompt_index: int
    image_index: int
    seed: int
    file: str
    base_file: str
    dino: float
    clip: float
    text_alignment: float
    base_text_alignment: float


@dataclass(frozen=True)
class Drift:
    """What personalisation did to pictures of other things: means over n pairs with equal prompt and seed.

    `set` and `base_set` name the two sets of the run, `prompts` their list.
    """

    set: str
    base_set: str
    prompts: str
    n: int
    images_per_prompt: int
    dino: float
    clip: float
    text_alignment: float
    base_text_alignment: float
    prompts_sha256: str
    seeds_sha256: str
    settings: dict[str, Any]
    per_image: list[DriftImage]

    @property
    def text_change(self) -> float:
        """Text alignment with the adapter less that of the untouched base."""
        return self.text_alignment - self.base_text_alignment


@dataclass(frozen=True)
class ScoresRecord:
    """scores.json.

    `floor` is the untouched base on the same prompts and seeds (the set `floor_set` of the same run),
    `ceiling` the references among themselves, `drift` what became of unrelated prompts. `source` and `set`
    say whose pictures these are, with hashes of prompts, seeds and settings; `encoders` holds what the two
    encoders say of themselves.
    """

    created: str
    source: dict[str, Any]
    set: dict[str, Any]
    score_text: str
    embedded: bool
    label: str | None
    encoders: dict[str, dict[str, Any]]
    references: list[dict[str, str]]
    overall: Summary
    floor: Summary | None
    floor_set: str | None
    ceiling: Summary | None
    per_prompt: list[PromptScore]
    per_image: list[ImageScore]
    drift: Drift | None = None
    warnings: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT


def write_scores(path: Path, record: ScoresRecord) -> None:
    write_json(path, record_to_json(record))


def read_scores(path: Path) -> ScoresRecord:
    """scores.json as it was written. Raises RunError when it is missing, damaged, or of another format."""
    value = read_json(path)
    if isinstance(value, dict) and value.get("format", FORMAT) != FORMAT:
        raise RunError(
            f"{path} has format {value['format']}, this coeffdream reads {FORMAT}; run coeffdream eval again"
        )
    record = record_from_json(ScoresRecord, value, path)

    def summary(part: Any) -> Summary | None:
        return None if part is None else record_from_json(Summary, part, path)

    drift = None
    if record.drift is not None:
        drift = record_from_json(Drift, record.drift, path)
        rows = [record_from_json(DriftImage, row, path) for row in drift.per_image]
        drift = replace(drift, per_image=rows)
    nested = {
        "drift": drift,
        "overall": record_from_json(Summary, record.overall, path),
        "floor": summary(record.floor),
        "ceiling": summary(record.ceiling),
        "per_prompt": [record_from_json(PromptScore, row, path) for row in record.per_prompt],
        "per_image": [record_from_json(ImageScore, row, path) for row in record.per_image],
    }
    return ScoresRecord(**{**vars(record), **nested})
