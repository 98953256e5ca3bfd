"""Every score once: what it is called, how it is printed, and which direction is better."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """One score.

    name: the field that holds it in `Summary`, and in `ImageScore` where a single picture has it.
    title: as the paper's Table 3 sets it; words: inside a sentence; digits: after the point.
    model: which of the encoders makes it, as a field of `EncoderRecords`.
    least, most: what it can be; a cosine unless it says otherwise.
    """

    name: str
    title: str
    words: str
    digits: int
    model: str
    less_is_better: bool = False
    least: float = -1.0
    most: float = 1.0

    @property
    def heading(self) -> str:
        """The words with a capital."""
        return self.words[0].upper() + self.words[1:]

    def show(self, value: float) -> str:
        return f"{value:.{self.digits}f}"


TEXT_ALIGNMENT = Measure("text_alignment", "Text Align.", "text alignment", 3, "clip")
CONCEPT_ALIGNMENT = Measure("concept_alignment", "Concept Align.", "concept alignment", 3, "clip")
DINO_ALIGNMENT = Measure("dino_alignment", "DINO Align.", "DINO alignment", 3, "dino")
DIVERSITY = Measure("diversity", "Diversity", "diversity", 2, "dino", least=1.0, most=math.inf)
DRIFT = Measure(
    "drift", "Drift", "drift on unrelated prompts", 3, "dino", less_is_better=True, least=0.0, most=2.0
)
WITHIN_PROMPT = Measure(
    "within_prompt", "Within Prompt", "diversity within a prompt", 2, "dino", least=1.0, most=math.inf
)
# A picture nearer to a photo than the photos are to one another may be a copy of it.
NEAREST_MEAN = Measure("nearest_mean", "Nearest, mean", "nearest photo, mean", 3, "dino")
NEAREST_P95 = Measure("nearest_p95", "Nearest, 95 %", "nearest photo, 95th percentile", 3, "dino")
NEAREST_MAX = Measure("nearest_max", "Nearest, max.", "nearest photo, maximum", 3, "dino")

# From patches: the thing apart from what is around it.
SUBJECT_ALIGNMENT = Measure("subject_alignment", "Subject Align.", "subject alignment", 3, "dino")
BACKGROUND_LEAK = Measure(
    "background_leak", "Background Leak", "background leak", 3, "dino", less_is_better=True
)
DINO_VITS16_ALIGNMENT = Measure(
    "dino_vits16_alignment", "DINO ViT-S/16 Align.", "DINO ViT-S/16 alignment", 3, "dino_vits16"
)
PICKSCORE = Measure("pickscore", "PickScore", "PickScore", 2, "pickscore", least=-math.inf, most=math.inf)
VQA_SCORE = Measure("vqa_score", "VQAScore", "VQAScore", 3, "vqa", least=0.0)

# The columns of the paper's Table 3.
TABLE3 = (TEXT_ALIGNMENT, CONCEPT_ALIGNMENT, DIVERSITY)
# What one picture has by itself.
OF_A_PICTURE = (
    TEXT_ALIGNMENT,
    CONCEPT_ALIGNMENT,
    DINO_ALIGNMENT,
    SUBJECT_ALIGNMENT,
    BACKGROUND_LEAK,
    DINO_VITS16_ALIGNMENT,
    PICKSCORE,
    VQA_SCORE,
)
# Against photos: how like them the pictures are, and whether they copy one.
LIKENESS = (CONCEPT_ALIGNMENT, DINO_ALIGNMENT, SUBJECT_ALIGNMENT, DINO_VITS16_ALIGNMENT)
COPYING = (BACKGROUND_LEAK, NEAREST_MEAN, NEAREST_P95, NEAREST_MAX)
MEASURES = {
    measure.name: measure
    for measure in (
        TEXT_ALIGNMENT,
        CONCEPT_ALIGNMENT,
        DIVERSITY,
        WITHIN_PROMPT,
        DINO_ALIGNMENT,
        SUBJECT_ALIGNMENT,
        BACKGROUND_LEAK,
        NEAREST_MEAN,
        NEAREST_P95,
        NEAREST_MAX,
        DRIFT,
        DINO_VITS16_ALIGNMENT,
        PICKSCORE,
        VQA_SCORE,
    )
}
