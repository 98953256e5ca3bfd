"""scores.json: what one set of pictures scored, with all that a comparison or a report needs to judge it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from coeffdream.records.base import BaseRecord
from coeffdream.records.encoders import EncoderRecords
from coeffdream.records.fields import Count, Positive, Text, record_from_json, record_to_json
from coeffdream.records.files import read_json, write_json
from coeffdream.records.images import SetKind, SetSettings
from coeffdream.records.run import Parameters

FORMAT = 1
OVERESTIMATES = (
    "to the very photos that were trained on, which overestimates it (arXiv 2503.06632); train with --holdout 1 "
    "to keep one out"
)
UNMASKED = "no mask says where in the photos the thing is: subject alignment is to whole photos, and background leak is absent"
EMBEDDED_LABEL = "embedded scorers: not comparable with published numbers"


@dataclass(frozen=True)
class Source:
    """Whose pictures were scored: a run's, or a folder's, of which less is known. `concept` is its name."""

    kind: Literal["run", "folder"]
    name: str
    class_noun: Text
    base: BaseRecord | None = None
    concept: str | None = None
    method: str | None = None
    seed: Count | None = None
    parameters: Parameters = Parameters()


@dataclass(frozen=True)
class PictureHashes:
    """What must be equal for two sets to be paired picture by picture. A folder of files knows no seeds."""

    n: Positive
    prompts_sha256: str
    texts_sha256: str
    seeds_sha256: str | None


@dataclass(frozen=True)
class ScoredSet(PictureHashes):
    """Which pictures were scored; of a folder's less is known."""

    name: str
    kind: Literal[SetKind, "folder"]
    class_noun: Text
    created: str | None = None
    prompts: str | None = None
    images_per_prompt: Positive | None = None
    adapter: bool = False
    settings: SetSettings | None = None
    settings_sha256: str | None = None


@dataclass(frozen=True)
class PhotoHash:
    """One photo that pictures were measured against. held_out: kept out of the training of what drew them.

    mask_sha256: of the mask file beside it, if there was one.
    """

    file: str
    sha256: str
    held_out: bool = False
    mask_sha256: str | None = None


@dataclass(frozen=True)
class ScoredPicture:
    """Which picture was scored."""

    index: Count
    prompt_index: Count
    image_index: Count
    seed: Count | None
    file: str
    sha256: str


def which(picture: Any) -> dict[str, Any]:
    """Of any record of a picture what `ScoredPicture` says."""
    return {each.name: getattr(picture, each.name) for each in fields(ScoredPicture)}


@dataclass(frozen=True)
class ImageScore(ScoredPicture):
    """One picture. The lists hold one value per reference, in the order of `ScoresRecord.references`;
    `background_by_reference` leaves out those whose mask leaves no background."""

    text_alignment: float | None
    concept_alignment: float | None
    dino_alignment: float | None
    nearest: float | None
    concept_by_reference: list[float] = field(default_factory=list)
    dino_by_reference: list[float] = field(default_factory=list)
    subject_alignment: float | None = None
    subject_by_reference: list[float] = field(default_factory=list)
    background_leak: float | None = None
    background_by_reference: list[float] = field(default_factory=list)
    dino_vits16_alignment: float | None = None
    dino_vits16_by_reference: list[float] = field(default_factory=list)
    pickscore: float | None = None
    vqa_score: float | None = None


@dataclass(frozen=True)
class PromptScore:
    """One prompt: means over its n pictures, Vendi among them, and Vendi of the set without them.

    `diversity` is None for a single picture, `diversity_without` (the delete-one-prompt jackknife
    value) when there is no other prompt.
    """

    prompt_index: Count
    template: str
    text: str
    n: Positive
    text_alignment: float | None
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

    n: Positive
    prompts: Count
    images_per_prompt: Count
    references: Count
    text_alignment: float | None
    concept_alignment: float | None
    diversity: float | None
    diversity_q: int
    within_prompt: float | None
    dino_alignment: float | None
    nearest_mean: float | None
    nearest_p95: float | None
    nearest_max: float | None
    subject_alignment: float | None = None
    background_leak: float | None = None
    dino_vits16_alignment: float | None = None
    pickscore: float | None = None
    vqa_score: float | None = None


@dataclass(frozen=True)
class LearnedScores:
    """Scores against the photos that were trained on, where others were held out and are what the rest is measured
    against; floor and ceiling likewise."""

    references: list[PhotoHash]
    overall: Summary
    floor: Summary | None
    ceiling: Summary | None


@dataclass(frozen=True)
class ConceptScores:
    """One of several things that a set shows, against its own photos, on the pictures whose prompt has its
    `placeholder`; floor, ceiling and `learned` as of the whole set."""

    name: Text
    placeholder: Text
    class_noun: Text
    references: list[PhotoHash]
    overall: Summary
    floor: Summary | None
    ceiling: Summary | None
    per_prompt: list[PromptScore]
    per_image: list[ImageScore]
    learned: LearnedScores | None = None


@dataclass(frozen=True)
class DriftImage:
    """One unrelated prompt and seed: the adapter's picture `file` beside the base's picture `base_file`.

    `dino`, `clip`: 1 - cosine of the two pictures' features, 0 for equal ones. CLIP's are None where it was not asked.
    """

    prompt_index: Count
    image_index: Count
    seed: Count
    file: str
    base_file: str
    dino: float
    clip: float | None
    text_alignment: float | None
    base_text_alignment: float | None


@dataclass(frozen=True)
class Drift:
    """What personalisation did to pictures of other things: means over n pairs with equal prompt and seed.

    `set` and `base_set` name the two sets of the run, `prompts` their list.
    """

    set: str
    base_set: str
    prompts: str
    n: Positive
    images_per_prompt: Positive
    dino: float
    clip: float | None
    text_alignment: float | None
    base_text_alignment: float | None
    prompts_sha256: str
    seeds_sha256: str | None
    settings: SetSettings
    per_image: list[DriftImage]

    @property
    def text_change(self) -> float | None:
        """Text alignment with the adapter less that of the untouched base."""
        if self.text_alignment is None or self.base_text_alignment is None:
            return None
        return self.text_alignment - self.base_text_alignment


@dataclass(frozen=True)
class ScoresRecord:
    """scores.json.

    `references` are the photos that were held out of training, where there are such; then `learned` has the scores
    against those that were trained on. `floor` is the untouched base on the same prompts and seeds (the set
    `floor_set` of the same run), `ceiling` the photos among themselves, `drift` what became of unrelated prompts. Of
    several things drawn together `concepts` has the scores against photos, and the rest of the record none.
    """

    created: str
    source: Source
    set: ScoredSet
    score_text: str
    embedded: bool
    label: str | None
    encoders: EncoderRecords
    references: list[PhotoHash]
    overall: Summary
    floor: Summary | None
    floor_set: str | None
    ceiling: Summary | None
    per_prompt: list[PromptScore]
    per_image: list[ImageScore]
    drift: Drift | None = None
    concepts: list[ConceptScores] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    learned: LearnedScores | None = None
    format: int = FORMAT

    @property
    def unmasked(self) -> bool:
        """Whether the thing was looked for without knowing where in the photos it is."""
        found = [self.overall, *(concept.overall for concept in self.concepts)]
        return any(each.subject_alignment is not None and each.background_leak is None for each in found)

    @property
    def overestimates(self) -> bool:
        """Whether the photos that likeness is measured against are those that the adapter was trained on."""
        ours = self.source.kind == "run" and self.set.adapter
        return ours and any(not photo.held_out for photo in self.references)


def of_concept(record: ScoresRecord, concept: ConceptScores) -> ScoresRecord:
    """`record` as if its set showed this one of several things alone."""
    return replace(
        record, concepts=[], drift=None, **{each.name: getattr(concept, each.name) for each in _SHARED}
    )


# What a concept has of its own, of what a whole record has.
_SHARED = [each for each in fields(ConceptScores) if each.name in {f.name for f in fields(ScoresRecord)}]


def write_scores(path: Path, record: ScoresRecord) -> None:
    write_json(path, record_to_json(record))


def read_scores(path: Path) -> ScoresRecord:
    """scores.json as it was written. Raises RunError when it is missing, damaged, or of another format."""
    return record_from_json(ScoresRecord, read_json(path), path)
