"""Every checkpoint of a run, drawn and scored on a few prompts and the same seeds: when should it have stopped?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from coeffdream.backbones.base import Base
from coeffdream.errors import RunError
from coeffdream.metrics.against import score_against
from coeffdream.metrics.encoder_choice import TOYBOX, encoders_for
from coeffdream.metrics.encoders import Encoders
from coeffdream.metrics.feature_cache import FeatureCache
from coeffdream.metrics.inputs import Picture, photo_hashes, pictures_of_set, references_of_run
from coeffdream.metrics.measure import Scorer
from coeffdream.metrics.options import ScoringOptions
from coeffdream.metrics.registry import chosen
from coeffdream.progress import Progress
from coeffdream.records.checkpoints import list_checkpoints
from coeffdream.records.claim import claimed, in_use, is_held
from coeffdream.records.encoders import EncoderRecords
from coeffdream.records.environment import now, versions
from coeffdream.records.files import iter_jsonl
from coeffdream.records.images import SetFolder
from coeffdream.records.run import RunFolder, RunRecord
from coeffdream.records.sweep import Measured, SweepRecord, SweptPoint, write_sweep
from coeffdream.studies.keep import front, keep, shares_of
from coeffdream.studies.levels import known, levels_of
from coeffdream.studies.sweep_drawing import PLACE, Drawing, draw_points
from coeffdream.studies.sweep_options import SweepOptions

SCORES = "text,concept,dino,drift"  # the rule's three, and the other model's word on two of them


def sweep(
    run: RunFolder,
    options: SweepOptions,
    base: Base,
    *,
    encoders: Encoders | None = None,
    cache: FeatureCache | None = None,
    progress: Progress,
    warn: Callable[[str], None],
) -> SweepRecord:
    """Draw and score every checkpoint at every strength, and write sweep.json.

    encoders: already loaded, in place of those that fit the base. cache: else the user's own.
    Raises UserError before anything is drawn when the run cannot be swept.
    """
    scales, record = options.check(), run.read()
    places = [(step, *scale) for step in swept_steps(run, record) for scale in scales]
    references_of_run(record)  # raises now if they are gone
    with claimed(run.path / PLACE, "sweep", f"the sweep of {run.path.name}", "wait until that has ended"):
        drawing = draw_points(run, record, places, options, base, progress, warn)
        scores = chosen(SCORES)
        encoders = encoders or encoders_for(
            TOYBOX if base.is_toybox else base.name, ScoringOptions(device=options.device), scores
        )
        scorer = Scorer(encoders, cache or FeatureCache(), on_progress=progress, scores=scores)
        made = _scored(run, record, drawing, options, scorer)
        write_sweep(run, made)
    return made


def swept_steps(run: RunFolder, record: RunRecord) -> list[int]:
    """The steps whose checkpoints can be swept. Raises RunError when there are none, InUseError in a training."""
    if record.status == "training" and is_held(run.path):
        raise in_use(run.path, f"run {record.name}", "sweep when that has ended")
    steps = [int(folder.name) for folder in list_checkpoints(run.checkpoints)]
    if not steps:
        raise RunError(
            f"{record.name} keeps no checkpoint to sweep; train with --checkpoint-every N, which keeps one every N steps"
        )
    return steps


def _scored(
    run: RunFolder, record: RunRecord, drawing: Drawing, options: SweepOptions, scorer: Scorer
) -> SweepRecord:
    """What the pictures score, and which point the rule keeps."""

    def pictures(folder: SetFolder) -> list[Picture]:
        made = folder.read_set()
        return pictures_of_set(
            folder, made, score_text="class", class_noun=record.class_noun, token=record.token
        )

    base_own, base_unrelated = pictures(drawing.untouched.concept), pictures(drawing.untouched.unrelated)
    untouched = score_against(scorer, base_own, [], references_of_run(record))
    levels = levels_of(scorer, base_own, base_unrelated, untouched)
    losses, points = _losses(run), []
    for (step, lora, alpha), sets in drawing.points.items():
        summary = scorer.pictures(pictures(sets.concept), untouched.references).summary
        drift = scorer.drift(pictures(sets.unrelated), base_unrelated)
        points.append(
            Measured(
                step=step,
                lora_scale=lora,
                alpha_scale=alpha,
                likeness=known(summary.concept_alignment),
                text_alignment=known(summary.text_alignment),
                drift=_mean([known(pair.clip) for pair in drift]),
                set=sets.concept.path.name,
                unrelated_set=sets.unrelated.path.name,
                dino_alignment=known(summary.dino_alignment),
                drift_dino=_mean([known(pair.dino) for pair in drift]),
                **losses.get(step, {}),
            )
        )
    kept, why = keep(points, levels)
    judged = zip(points, shares_of(points, levels), front(points), strict=True)
    return SweepRecord(
        created=now(),
        run=record.name,
        class_noun=record.class_noun,
        prompts=drawing.prompts,
        unrelated_prompts=drawing.unrelated_prompts,
        images_per_prompt=options.images_per_prompt,
        seed=options.seed,
        sampling_steps=drawing.sampling.steps,
        guidance_scale=drawing.sampling.guidance_scale,
        size=drawing.sampling.size,
        embedded=scorer.encoders.embedded,
        encoders=EncoderRecords(
            clip=None if scorer.encoders.clip is None else scorer.encoders.clip.describe(),
            dino=None if scorer.encoders.dino is None else scorer.encoders.dino.describe(),
        ),
        references=photo_hashes(untouched.references),
        held_out=untouched.learned is not None,
        levels=levels,
        points=[SweptPoint(point, shares, on_front) for point, shares, on_front in judged],
        kept=kept,
        why=why,
        warnings=scorer.warnings,
        versions=versions(),
    )


def _losses(run: RunFolder) -> dict[int, dict[str, Any]]:
    """The validation losses of train.jsonl, by step."""
    rows = [row for _, row in iter_jsonl(run.log, growing=True)] if run.log.is_file() else []
    names = ("validation_loss", "class_loss")
    return {row["step"]: {name: row.get(name) for name in names} for row in rows if names[0] in row}


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values, dtype=np.float64))
