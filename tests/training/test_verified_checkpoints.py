"""A checkpoint says what it must be: anything else is refused, and nothing unfit becomes one."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from coeffdream.errors import ConfigError, DivergedError, RunError
from coeffdream.records.checkpoints import STATE_FILE, list_checkpoints
from coeffdream.records.files import sha256_of_file, sha256_of_json
from coeffdream.records.run import COEFF_FILE, LORA_FILE
from coeffdream.training import run as training
from coeffdream.training.checkpoint import OPTIMIZER_FILE, restore_checkpoint, save_checkpoint

FILES = (LORA_FILE, COEFF_FILE, OPTIMIZER_FILE, STATE_FILE)


@pytest.fixture
def two(learned):
    """A run with the checkpoints of steps 1 and 2, older first."""
    return list_checkpoints(learned(steps=2, checkpoint_every=1).checkpoints)


@pytest.fixture
def restore(options, session):
    """Restore a checkpoint into a session of its own; what was said beside it."""

    def call(checkpoint: Path) -> list[str]:
        ready, said = session(options()), []
        restore_checkpoint(checkpoint, ready.state, ready.components.architecture, said.append)
        return said

    return call


def test_every_file_has_its_hash(two):
    """Protects state.json as the one place that says what a checkpoint is."""
    for step, checkpoint in enumerate(two, start=1):
        saved = json.loads((checkpoint / STATE_FILE).read_text())
        assert saved["step"] == step
        assert {name: entry["sha256"] for name, entry in saved["files"].items()} == {
            file.name: sha256_of_file(file) for file in checkpoint.glob("*.safetensors")
        }
        assert saved.pop("digest") == sha256_of_json(saved)


@pytest.mark.parametrize("file", FILES)
def test_a_file_of_another_step(file, two, restore):
    """It fits in every shape and would have gone on without a word, with a state that never was."""
    shutil.copyfile(two[0] / file, two[1] / file)
    with pytest.raises(RunError, match=r"000002 is damaged .*remove it to resume from an older one"):
        restore(two[1])


def test_a_checkpoint_of_another_step(two, restore):
    """A folder that was renamed would shift every draw that follows."""
    moved = two[1].rename(two[1].with_name("000007"))
    with pytest.raises(RunError, match=r"state\.json is that of step 2"):
        restore(moved)


@pytest.mark.parametrize("file", FILES)
def test_one_bit_of_a_checkpoint(file, two, restore):
    """A disk that forgets one bit."""
    content = bytearray((two[1] / file).read_bytes())
    content[len(content) // 2] ^= 1
    (two[1] / file).write_bytes(content)
    with pytest.raises(RunError, match="damaged"):
        restore(two[1])


def older(checkpoint: Path) -> Path:
    """The checkpoint as a coeffdream without hashes wrote it."""
    saved = json.loads((checkpoint / STATE_FILE).read_text())
    (checkpoint / STATE_FILE).write_text(json.dumps({"step": saved["step"], "scaler": saved["scaler"]}))
    save_file(load_file(checkpoint / OPTIMIZER_FILE), checkpoint / "optimiser.safetensors")
    (checkpoint / OPTIMIZER_FILE).unlink()
    return checkpoint


def test_the_oldest_format_resumes_and_says_what_it_lacks(two, restore):
    """Runs outlive versions."""
    [line] = restore(older(two[1]))
    assert "before checkpoints held hashes" in line
    assert "cannot be checked" in line


@pytest.mark.parametrize(
    ("moment", "value", "said"),
    [
        ("exp_avg", torch.nan, "not finite"),
        ("exp_avg_sq", torch.inf, "not finite"),
        ("exp_avg_sq", -1.0, "is negative"),
        ("step", 1.0, "step is 1"),
        ("step", 1e9, "step is 1e"),
    ],
)
def test_moments_that_cannot_be(moment, value, said, two, restore):
    """Even where no hash can tell: with such moments the next step ruins the weights."""
    file = older(two[1]) / "optimiser.safetensors"
    tensors = load_file(file)
    next(tensor for name, tensor in tensors.items() if name.endswith(f"|{moment}")).fill_(value)
    save_file(tensors, file)
    with pytest.raises(RunError, match=said):
        restore(two[1])


@pytest.mark.parametrize("where", ["weights", "moments", "norm"])
def test_a_state_that_is_unfit_is_never_kept(where, options, session, tmp_path):
    """The checkpoint before stays, to the last byte."""
    ready = session(options(steps=1))
    run = training.RunFolder(tmp_path / "runs" / "bad")
    training.execute(ready, run, ready.record("bad", "training"))
    before = {path: path.read_bytes() for path in run.checkpoints.rglob("*") if path.is_file()}
    name, parameter = next(iter(ready.state.adapter.trainable.items()))
    with torch.no_grad():
        if where == "moments":
            ready.state.optimizer.state[parameter]["exp_avg_sq"][0] = torch.inf
        else:
            parameter.fill_(torch.nan if where == "weights" else 1e6)
    ready.state.step = 2
    with pytest.raises(
        DivergedError, match=r"after step 2 .*the one before stays\. Train again with a smaller"
    ):
        save_checkpoint(run.checkpoints, ready.state, ready.components.architecture)
    assert name
    assert {path: path.read_bytes() for path in run.checkpoints.rglob("*") if path.is_file()} == before


def test_equal_runs_are_equal_bytes(options, learn, tmp_path):
    """Two runs of one command: every file of adapter and checkpoint has one sha256."""
    one, other = (
        learn(options(steps=2, method="coeff-dora", runs=str(tmp_path / runs))) for runs in ("here", "there")
    )
    assert one.path != other.path
    for folder in ("adapter", "checkpoints/000002"):
        hashes = [
            {file.name: sha256_of_file(file) for file in (run.path / folder).iterdir()}
            for run in (one, other)
        ]
        assert hashes[0] == hashes[1]
    assert one.read().adapter == other.read().adapter
    for name in FILES[:2]:
        assert one.read().adapter[name] == sha256_of_file(one.adapter / name)


def test_the_same_checkpoint_again_is_never_out_of_the_way(two, options, session):
    """Ctrl-C right after a checkpoint writes it once more: a kill in between must find the first one."""
    ready = session(options())
    restore_checkpoint(two[1], ready.state, ready.components.architecture)
    inode = two[1].stat().st_ino
    save_checkpoint(two[1].parent, ready.state, ready.components.architecture)
    assert two[1].stat().st_ino == inode
    assert [path.name for path in sorted(two[1].parent.iterdir())] == ["000001", "000002"]


def test_another_state_of_the_same_step_takes_its_place(two, options, session):
    """Whole as the one before may be, it is not this run's any more."""
    ready = session(options())
    restore_checkpoint(two[1], ready.state, ready.components.architecture)
    before = sha256_of_file(two[1] / LORA_FILE)
    with torch.no_grad():
        next(iter(ready.state.adapter.lora.values())).add_(1e-3)
    save_checkpoint(two[1].parent, ready.state, ready.components.architecture)
    assert sha256_of_file(two[1] / LORA_FILE) != before
    again = session(options())
    restore_checkpoint(two[1], again.state, again.components.architecture)
    for one, other in zip(again.state.adapter.lora.values(), ready.state.adapter.lora.values(), strict=True):
        assert torch.equal(one, other)


def test_steps_are_held_against_the_newest_checkpoint(two, options, go_on):
    """run.json may lag behind it after a kill; a run is not resumed into its past."""
    run = training.RunFolder(two[1].parents[1])
    run.write(dataclasses.replace(run.read(), steps_done=0, status="training"))
    with pytest.raises(ConfigError, match="--steps 1 is less than the 2 steps already done"):
        go_on(run, options(steps=1, checkpoint_every=1))


def test_checkpoints_are_in_the_order_of_their_steps(tmp_path):
    """Past 999,999 the names no longer sort as text; a copy by hand is none."""
    for name in ("999999", "1000000", "000500", "000500-copy", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / STATE_FILE).write_text("{}")
    assert [path.name for path in list_checkpoints(tmp_path)] == ["000500", "999999", "1000000"]


def test_a_file_too_many_is_refused(two, restore):
    """Whoever put it there meant something by it that the checkpoint does not say."""
    (two[1] / "more.safetensors").write_bytes((two[1] / OPTIMIZER_FILE).read_bytes())
    with pytest.raises(RunError, match=r"it holds .*more\.safetensors.* was written"):
        restore(two[1])
