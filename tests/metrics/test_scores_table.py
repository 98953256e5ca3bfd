"""What a person sees of the scores."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
from rich.console import Console

from coeffdream.metrics.scores_table import ROWS, scores_table
from coeffdream.records.encoders import EncoderRecord, EncoderRecords
from coeffdream.records.scores import (
    EMBEDDED_LABEL,
    Drift,
    ScoredSet,
    ScoresRecord,
    Source,
    Summary,
)

NAMES = ("CLIP ViT-B-32-quickgelu", "DINOv2 facebook/dinov2-base")
SCORES = (
    "text_alignment",
    "concept_alignment",
    "within_prompt",
    "dino_alignment",
    "nearest_mean",
    "nearest_p95",
    "nearest_max",
    "subject_alignment",
    "background_leak",
)


def summary(n: int, **values) -> Summary:
    scores = dict.fromkeys(SCORES)
    return Summary(n, 25, 4, 5, diversity=10.25, diversity_q=1, **(scores | values))


@pytest.fixture
def record() -> ScoresRecord:
    return ScoresRecord(
        created="2026-01-01T00:00:00+00:00",
        source=Source("run", "cat2-coeff-lora", "cat"),
        set=ScoredSet(100, "", "", None, name="benchmark", kind="benchmark", class_noun="cat"),
        score_text="class",
        embedded=False,
        label=None,
        encoders=EncoderRecords(*(EncoderRecord(name, "", "", "", "", {}, 512, {}) for name in NAMES)),
        references=[],
        overall=summary(100, text_alignment=0.3314, concept_alignment=0.7421, nearest_mean=0.61),
        floor=summary(
            99, text_alignment=0.3512, concept_alignment=0.6109, nearest_mean=0.42, background_leak=0.3
        ),
        floor_set="benchmark-base",
        ceiling=summary(5, concept_alignment=0.8512, nearest_mean=0.77),
        per_prompt=[],
        per_image=[],
    )


def shown(record: ScoresRecord, width: int = 80) -> str:
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(scores_table(record))
    return capture.get()


def test_score_floor_and_ceiling_stand_side_by_side(record):
    """One line a metric, each column with its n, and what cannot be measured as a dash."""
    text = shown(record)
    assert "cat2-coeff-lora, set benchmark" in text
    row = next(line for line in text.splitlines() if "concept alignment" in line)
    assert row.index("0.742") < row.index("0.611") < row.index("0.851")
    row = next(line for line in text.splitlines() if "text alignment" in line)
    assert row.index("0.331") < row.index("0.351") < row.index(" - ")
    heads = next(line for line in text.splitlines() if "n = 100" in line)
    assert heads.index("n = 100") < heads.index("n = 99") < heads.index("n = 5")


WHOLE = """
cat2-coeff-lora, set benchmark

                             untouched      photos
                      score       base  themselves
 metric             n = 100     n = 99       n = 5  what it means
 ────────────────────────────────────────────────────────────────────────
 text alignment       0.100      0.351           -  shows the prompt
 concept alignment    0.201      0.611       0.851  is the thing, to CLIP
 diversity            10.25      10.25       10.25  pictures that differ
   within a prompt     0.30          -           -  of one prompt
 DINO alignment       0.402          -           -  is the thing, to DINO
 subject alignment    0.803          -           -  whatever is around it
 background leak      0.904      0.300           -  less is better
 nearest photo        0.502      0.420       0.770  above photos': copied
   95th percentile    0.602          -           -  the closest pictures
 drift (n = 10)       0.123          -           -  other things, to DINO
   to CLIP            0.046          -           -  0: as the base's
   text alignment     0.300      0.310           -  -0.010 by the adapter

CLIP ViT-B-32-quickgelu: text alignment, concept alignment
DINOv2 facebook/dinov2-base: diversity, diversity within a prompt, DINO
alignment, subject alignment, background leak, nearest photo, drift on unrelated
prompts
diversity grows with n: compare it at equal n only
"""


def test_the_whole_table(record):
    """Every digit and column in its place, drift beneath the rest with its own number of pictures."""
    drift = Drift(
        "unrelated", "unrelated-base", "unrelated", 10, 1, 0.1234, 0.0456, 0.3001, 0.3102, "a", "b", {}, []
    )
    every = summary(100, **{name: 0.1004 * (place + 1) for place, name in enumerate(SCORES)})
    lines = shown(dataclasses.replace(record, overall=every, drift=drift)).splitlines()
    assert "\n".join(line.rstrip() for line in lines).strip() == WHOLE.strip()


def test_it_fits_a_plain_terminal(record):
    """80 columns, one line a metric: read in five seconds."""
    whole = summary(100, **dict.fromkeys(SCORES, 0.5))
    lines = shown(dataclasses.replace(record, overall=whole), 80).splitlines()
    made = [name for name, measure, _ in ROWS if measure.model in ("clip", "dino")]
    assert [line[1 : len(name) + 1] for name, line in zip(made, lines[6:], strict=False)] == made
    assert max(len(line.rstrip()) for line in lines) <= 80


def test_embedded_scores_are_labelled(record):
    """Nobody may take a toybox's score for a published one; a standard one carries no label."""
    assert EMBEDDED_LABEL not in shown(record)
    assert EMBEDDED_LABEL in shown(dataclasses.replace(record, embedded=True, label=EMBEDDED_LABEL))


def test_absent_columns_and_rows_are_not_shown(record):
    """No floor set, no photos: no empty columns, and no rows of dashes."""
    bare = dataclasses.replace(record, floor=None, ceiling=None, overall=summary(100, text_alignment=0.3))
    text = shown(bare)
    assert "untouched" not in text
    assert "themselves" not in text
    assert "concept alignment" not in text
    assert "text alignment" in text


def test_the_table_needs_no_torch():
    """Reports and `--json` run where no torch is."""
    check = "import sys, coeffdream.metrics.scores_table, coeffdream.records.scores; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
