"""Training with a tracker: what it is told, and that nothing is trained otherwise for it.

TensorBoard is the real one. W&B and Trackio are stubs of what accelerate's own trackers call of those packages.
"""

from __future__ import annotations

import dataclasses
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from coeffdream.errors import ConfigError
from coeffdream.training import run as training


@pytest.fixture
def service(monkeypatch):
    """A tracking service under a package's name: one dict a run, by how it was begun, of what it was told by step."""

    def installed(name: str) -> dict[str, Any]:
        told: dict[str, Any] = {}

        class Run:
            broken = False

            def __init__(self, **begun: Any) -> None:
                self.key = begun.get("id", begun["name"])
                told.setdefault(self.key, {"begun": [], "steps": [], "config": {}, "finished": 0})
                told[self.key]["begun"].append(begun)

            def log(self, values: dict[str, Any], step: int | None = None) -> None:
                if module.broken:
                    raise ConnectionError("the network\nis gone")
                told[self.key]["steps"].append((step, values))

            def finish(self) -> None:
                told[self.key]["finished"] += 1

        module: Any = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        module.broken = False
        module.Image = lambda given: ("picture", given)
        current: list[Run] = []

        def init(**begun: Any) -> Run:
            print("* a word on standard output")
            current.append(Run(**begun))
            return current[-1]

        module.init = init
        module.finish = lambda: current[-1].finish()
        module.config = SimpleNamespace(
            update=lambda values, allow_val_change: told[current[-1].key]["config"].update(values)
        )
        monkeypatch.setitem(sys.modules, name, module)
        told["module"] = module
        return told

    return installed


def events(run: Path) -> Any:
    """What TensorBoard shows of a run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shown = EventAccumulator(str(run / "tensorboard"))
    shown.Reload()
    return shown


def test_tensorboard_shows_every_step_and_trains_the_same(options, learn, outcome):
    """Losses and samples as train.jsonl and samples/ have them; weights, moments and log to the byte."""
    config = options(method="coeff-lora", steps=3, sample_every=2, coeff_dropout=0.5)
    plain = learn(config)
    logged = learn(dataclasses.replace(config, log_with="tensorboard"))
    assert outcome(logged) == outcome(plain)
    shown = events(logged.path)
    losses = [(each.step, each.value) for each in shown.Scalars("train/loss")]
    rows = outcome(logged)["log"]
    assert losses == [(row["step"], pytest.approx(row["loss"], rel=1e-6)) for row in rows]
    assert {"train/alpha_grad", "train/lora_grad", "train/lr"} <= set(shown.Tags()["scalars"])
    samples = shown.Images("samples")
    assert [each.step for each in samples] == [0, 2, 3]
    assert (samples[0].width, samples[0].height) == (2 * 32, 32)


def test_tensorboard_shows_a_step_once_that_was_trained_twice(options, learn, go_on):
    """What was logged beyond the checkpoint that training went on from is hidden."""
    config = options(steps=4, checkpoint_every=2, log_with="tensorboard")
    run = learn(config)
    [first, last] = sorted(run.checkpoints.iterdir())
    assert (first.name, last.name) == ("000002", "000004")
    for file in last.iterdir():
        file.unlink()
    last.rmdir()
    assert go_on(run, config)
    assert [each.step for each in events(run.path).Scalars("train/loss")] == [1, 2, 3, 4]


def test_a_resumed_run_may_begin_to_be_logged(options, learned, go_on):
    """Or cease to be."""
    run = learned(steps=1)
    assert go_on(run, options(steps=2, log_with="tensorboard"))
    assert go_on(run, options(steps=3, log_with="none"))
    assert [each.step for each in events(run.path).Scalars("train/loss")] == [2]


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_the_other_trackers(name, service, options, learn, go_on, capsys):
    """One run of theirs for one of ours, taken up again by --resume; configuration, losses, pictures."""
    told = service(name)
    run = learn(options(steps=1, sample_every=1, log_with=name))
    assert go_on(run, options(steps=2, sample_every=1, log_with=name))
    [key] = told.keys() - {"module"}
    theirs = told[key]
    assert [each["project"] for each in theirs["begun"]] == ["coeffdream"] * 2
    assert {each["resume"] for each in theirs["begun"]} == {"allow"}
    assert theirs["begun"][0]["name"].startswith("cat2-coeff-lora")
    assert theirs["finished"] == 2
    assert theirs["config"]["rank"] == 2
    assert [step for step, values in theirs["steps"] if "train/loss" in values] == [1, 2]
    assert [step for step, values in theirs["steps"] if "samples" in values] == [0, 1, 2]
    assert "a word" not in capsys.readouterr().out


def test_two_runs_of_one_name_are_two(service, options, learn, tmp_path):
    """Another folder of runs may hold a run of that name, and both log to one project."""
    told = service("wandb")
    for place in ("one", "two"):
        learn(options(steps=1, runs=str(tmp_path / place), log_with="wandb"))
    assert len(told) == 3


def test_a_tracker_that_fails_stops_nothing(service, options, learned, given, outcome):
    """One warning, and the run is what it would have been."""
    config = options(steps=3)
    plain = learned(steps=3)
    service("wandb")["module"].broken = True
    warnings: list[str] = []
    run, finished = training.train(
        *given(dataclasses.replace(config, log_with="wandb")), lambda *told: None, warnings.append
    )
    assert finished
    assert outcome(run) == outcome(plain)
    assert warnings == ["nothing more is logged with wandb (the network is gone); the work goes on"]


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio"])
def test_a_package_that_is_missing_is_named_before_any_work(name, options, learn, monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    with pytest.raises(
        ConfigError, match=f"--log-with {name} needs the package {name}; install it with: pip"
    ):
        learn(options(log_with=name))
    assert not (tmp_path / "runs").exists()


def test_a_tracker_that_cannot_start_is_one_line(service, options, learn):
    """Such as W&B without a login."""

    def init(**begun: Any) -> None:
        raise ValueError("No API key configured.")

    service("wandb")["module"].init = init
    with pytest.raises(ConfigError, match=r"--log-with wandb could not start \(No API key configured.\)"):
        learn(options(steps=1, log_with="wandb"))
