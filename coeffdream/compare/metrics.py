"""What is compared, and the tables of numbers that the statistics are made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coeffdream.errors import ScoreError
from coeffdream.records import measures
from coeffdream.records.measures import Measure
from coeffdream.records.scores import DriftImage, ImageScore, ScoresRecord

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """A measure that is a mean over pictures. `rows` gives one picture's values: one, or one a reference.

    images: the pictures it is a mean over; those of the set that was scored unless it says otherwise.
    """

    measure: Measure
    rows: Callable[[Any], list[float]]
    images: Callable[[ScoresRecord], Sequence[ImageScore | DriftImage]] = lambda scores: scores.per_image


MEANS: tuple[Metric, ...] = (
    Metric(measures.TEXT_ALIGNMENT, lambda image: _known(image.text_alignment)),
    Metric(measures.CONCEPT_ALIGNMENT, lambda image: image.concept_by_reference),
    Metric(measures.DINO_ALIGNMENT, lambda image: image.dino_by_reference),
)
# After the others: each metric draws by its place.
LATER: tuple[Metric, ...] = (
    Metric(measures.SUBJECT_ALIGNMENT, lambda image: image.subject_by_reference),
    Metric(measures.BACKGROUND_LEAK, lambda image: image.background_by_reference),
    Metric(measures.DINO_VITS16_ALIGNMENT, lambda image: image.dino_vits16_by_reference),
    Metric(measures.PICKSCORE, lambda image: _known(image.pickscore)),
    Metric(measures.VQA_SCORE, lambda image: _known(image.vqa_score)),
)
DRIFT = Metric(
    measures.DRIFT, lambda image: [image.dino], lambda scores: scores.drift.per_image if scores.drift else []
)


def _known(value: float | None) -> list[float]:
    return [] if value is None else [value]


def table_of(scores: ScoresRecord, metric: Metric) -> Array | None:
    """One run's scores as [P, I, R], prompts in order and the pictures of a prompt by their seed.

    None where the run has no such score. Raises ScoreError when prompts have unequal counts.
    """
    pictures = metric.images(scores)
    if not pictures:
        return None
    prompts: dict[int, list[ImageScore | DriftImage]] = {}
    for image in sorted(pictures, key=lambda image: (image.prompt_index, image.seed or 0)):
        prompts.setdefault(image.prompt_index, []).append(image)
    counts = {len(images) for images in prompts.values()}
    if len(counts) != 1:
        raise ScoreError(
            f"{scores.source.name}: prompts have from {min(counts, default=0)} to "
            f"{max(counts, default=0)} pictures; complete the set and score it again"
        )
    table = np.array([[metric.rows(image) for image in images] for images in prompts.values()], dtype=float)
    return table if table.shape[-1] else None


def jackknife_of(scores: ScoresRecord) -> Array | None:
    """Vendi of the whole set without each prompt, [P], prompts in order; None for a single prompt."""
    rows = sorted(scores.per_prompt, key=lambda row: row.prompt_index)
    without = [row.diversity_without for row in rows if row.diversity_without is not None]
    return np.array(without) if len(without) == len(rows) > 1 else None
