"""Runs with scores made up beforehand: the effect of a method is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coeffdream.compare.scored import ScoredRun
from coeffdream.config import TrainConfig
from coeffdream.records.base import BaseRecord
from coeffdream.records.encoders import EncoderRecord, EncoderRecords
from coeffdream.records.files import sha256_of_json
from coeffdream.records.images import SetSettings
from coeffdream.records.run import Parameters, RunRecord
from coeffdream.records.scores import (
    ImageScore,
    PhotoHash,
    PromptScore,
    ScoredSet,
    ScoresRecord,
    Source,
    Summary,
)

BASE = BaseRecord("sdxl", "hub", "owner/sdxl", "a" * 64, [0.5, -0.25])
SETTINGS = SetSettings(BASE, {"lora": ""}, 1.0, 1.0, "sks", 100, 30, 5.0, "", 1024, "Euler", "float32")
ENCODERS = EncoderRecords(
    EncoderRecord("CLIP B", "B", "", "c" * 64, "", {"size": 224, "mean": [0.5]}, 512, {}),
    EncoderRecord("DINOv2 base", "base", "", "d" * 64, "", {"centre_crop": 224}, 768, {}),
)
PERCENT = {"lora": 0.0306, "dora": 0.0371, "coeff-lora": 0.0325, "coeff": 0.0019, "coeff-dora": 0.0390}


def scored_run(
    method: str = "lora",
    concept: str = "cat",
    seed: int = 0,
    *,
    effect: float = 0.0,
    noise: float = 0.01,
    prompts: int = 5,
    images: int = 2,
    references: int = 3,
    name: str | None = None,
) -> ScoredRun:
    """A run whose scores are those of the concept and seed, plus the effect, plus the run's own noise."""
    shared = np.random.default_rng([sum(concept.encode()), seed])
    own = np.random.default_rng([sum(concept.encode()), seed, sum(method.encode())])
    shape = (prompts, images, references + 1)
    values = 0.5 + 0.05 * shared.normal(size=shape) + effect + noise * own.normal(size=shape)
    dino = values - 0.1
    per_image = [
        ImageScore(
            index=p * images + i,
            prompt_index=p,
            image_index=i,
            seed=100 + p * images + i,
            file=f"{p:02d}-{i}.png",
            sha256=sha256_of_json([name, p, i]),
            text_alignment=float(values[p, i, -1]),
            concept_alignment=float(values[p, i, :-1].mean()) if references else None,
            dino_alignment=float(dino[p, i, :-1].mean()) if references else None,
            nearest=float(dino[p, i, :-1].max()) if references else None,
            concept_by_reference=values[p, i, :-1].tolist(),
            dino_by_reference=dino[p, i, :-1].tolist(),
        )
        for p in range(prompts)
        for i in range(images)
    ]
    diversity = float(4 + 10 * effect + noise * own.normal())
    without = diversity - 0.2 + 0.05 * own.normal(size=prompts)
    per_prompt = [
        PromptScore(p, f"template {p}", f"text {p}", images, 0.0, 0.0, 0.0, 0.0, 1.5, float(without[p]))
        for p in range(prompts)
    ]
    overall = Summary(
        n=prompts * images,
        prompts=prompts,
        images_per_prompt=images,
        references=references,
        text_alignment=float(values[..., -1].mean()),
        concept_alignment=float(values[..., :-1].mean()) if references else None,
        diversity=diversity,
        diversity_q=1,
        within_prompt=1.5,
        dino_alignment=float(dino[..., :-1].mean()) if references else None,
        nearest_mean=None,
        nearest_p95=None,
        nearest_max=None,
    )
    name = name or f"{concept}-{method}-{seed}"
    scores = ScoresRecord(
        created="2026-01-01T00:00:00+00:00",
        source=Source(
            kind="run",
            name=name,
            method=method,
            base=BASE,
            seed=seed,
            class_noun=concept,
            concept=concept,
            parameters=Parameters(trained=7, percent=PERCENT[method]),
        ),
        set=ScoredSet(
            name="benchmark",
            kind="benchmark",
            class_noun=concept,
            prompts="live",
            n=prompts * images,
            images_per_prompt=images,
            settings=dataclasses.replace(SETTINGS, adapter={"lora": name}),
            prompts_sha256=sha256_of_json(["prompts", prompts]),
            texts_sha256=sha256_of_json(["texts", prompts, concept]),
            seeds_sha256=sha256_of_json([image.seed for image in per_image]),
        ),
        score_text="class",
        embedded=False,
        label=None,
        encoders=ENCODERS,
        references=[PhotoHash(f"{r}.png", sha256_of_json([concept, r])) for r in range(references)],
        overall=overall,
        floor=None,
        floor_set=None,
        ceiling=None,
        per_prompt=per_prompt,
        per_image=per_image,
    )
    record = RunRecord(
        name=name,
        status="complete",
        created="2026-01-01T00:00:00+00:00",
        method=method,
        config=TrainConfig(concept=concept, method=method, seed=seed),  # type: ignore[arg-type]
        base=BASE,
        class_noun=concept,
        token="sks",
    )
    return ScoredRun(Path("runs") / name, record, scores)


@pytest.fixture
def made() -> Callable[..., ScoredRun]:
    """`scored_run`."""
    return scored_run


@pytest.fixture
def study(made) -> Callable[..., list[ScoredRun]]:
    """LoRA and another method on C concepts with S training seeds; the other is better by `effect`."""

    def runs(concepts: int = 6, seeds: int = 2, *, effect: float = 0.03, **options: Any) -> list[ScoredRun]:
        return [
            made(method, f"thing{c}", seed, effect=effect if method != "lora" else 0.0, **options)
            for method in ("lora", "coeff-lora")
            for c in range(concepts)
            for seed in range(seeds)
        ]

    return runs
