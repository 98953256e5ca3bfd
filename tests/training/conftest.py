"""Short runs on the random miniature, and what is compared between two of them."""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coeffdream.backbones.base import find_base
from coeffdream.config import TrainConfig
from coeffdream.data.concept import load_concept
from coeffdream.progress import silent
from coeffdream.records.run import RunFolder
from coeffdream.training import run as training


@pytest.fixture(autouse=True)
def quick(few_validation_draws, loaded_once) -> None:
    """Only test_validation.py looks at the validation."""


def quick_config(concept: Path, base: Path, runs: Path) -> TrainConfig:
    return TrainConfig(
        concept=str(concept),
        base=str(base),
        resolution=32,
        steps=2,
        sample_every=0,
        checkpoint_every=0,
        device="cpu",
        runs=str(runs),
    )


@pytest.fixture
def options(tiny_base, cat_folder, tmp_path) -> Callable[..., TrainConfig]:
    """A quick configuration on the miniature, with whatever a test changes about it."""
    plain = quick_config(cat_folder, tiny_base, tmp_path / "runs")
    return lambda **changes: dataclasses.replace(plain, **changes)


@pytest.fixture
def given() -> Callable[[TrainConfig], tuple[Any, ...]]:
    """A config and what `train` and `resume` want beside it: the concept and the base."""

    def made(config: TrainConfig) -> tuple[Any, ...]:
        concept = load_concept(
            Path(config.concept), class_noun=config.class_noun, caption_template=config.caption
        )
        return config, concept, find_base(config.base)

    return made


@pytest.fixture
def learn(given):
    """Train a whole run and return its folder."""

    def trained(config: TrainConfig, progress: Any = silent) -> Any:
        run, _ = training.train(*given(config), progress)
        return run

    return trained


@pytest.fixture(scope="session")
def finished(tiny_base, cat_photos, tmp_path_factory) -> Callable[..., Path]:
    """The folder of a run with these options, trained once a session: to be copied, not to be touched."""

    @functools.cache
    def trained(**changes: Any) -> Path:
        plain = quick_config(cat_photos, tiny_base, tmp_path_factory.mktemp("finished"))
        config = dataclasses.replace(plain, **changes)
        run, _ = training.train(config, load_concept(cat_photos), find_base(config.base), silent)
        return run.path

    return trained


@pytest.fixture
def learned(finished, tmp_path) -> Callable[..., RunFolder]:
    """A finished run with these options, for a test to go on with or to damage; what is left out is as in `options`."""

    def copied(**changes: Any) -> RunFolder:
        there = finished(**changes)
        return RunFolder(Path(shutil.copytree(there, tmp_path / "runs" / there.name)))

    return copied


@pytest.fixture
def go_on(given):
    """Resume a run; True when it came to its end."""
    return lambda run, config: training.resume(run, *given(config), silent)


@pytest.fixture
def session(given):
    """Everything of a run in memory, before its first step."""
    return lambda config: training.Session.prepare(*given(config), silent)


@pytest.fixture
def v_base(tiny_base, tmp_path) -> Path:
    """The miniature again, as a model that predicts v."""
    folder = tmp_path / "v-base"
    shutil.copytree(tiny_base, folder)
    file = folder / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "prediction_type": "v_prediction"}))
    return folder


@pytest.fixture
def interrupt_after():
    """A progress callback that presses Ctrl-C while the given step reports itself."""

    def pressing(step: int) -> Any:
        def progress(stage: str, done: int, total: int, note: str) -> None:
            if stage == "training" and done == step:
                signal.raise_signal(signal.SIGINT)

        return progress

    return pressing


@pytest.fixture
def outcome():
    """All that two equal runs must have in common: adapter, Adam's state, and the log but its clock and what is measured
    at a checkpoint, of which one may have more than the other."""

    def collected(run: Any) -> dict[str, Any]:
        from safetensors.torch import load_file

        checkpoint = sorted(run.checkpoints.iterdir())[-1]
        tensors = {}
        for folder in (run.adapter, checkpoint):
            for file in sorted(folder.glob("*.safetensors")):
                what = file.name.replace(run.path.name, "NAME")  # the one file that is called like its run
                tensors |= {
                    f"{folder.name if folder == run.adapter else 'checkpoint'}/{what}/{name}": value.numpy().tobytes()
                    for name, value in load_file(file).items()
                }
        rows = [json.loads(line) for line in run.log.read_text().splitlines()]
        apart = ("seconds", "validation_loss", "class_loss")
        log = [{key: value for key, value in row.items() if key not in apart} for row in rows]
        return {"tensors": tensors, "log": log}

    return collected
