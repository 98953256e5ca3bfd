"""What is no going on: other options, photos or weights, a run at work, and what is damaged."""

from __future__ import annotations

import dataclasses
import shutil

import pytest

from coeffdream import warm
from coeffdream.errors import CoeffdreamError, ConfigError, InUseError, RunError
from coeffdream.records.checkpoints import STATE_FILE, list_checkpoints
from coeffdream.records.run import COEFF_FILE, LORA_FILE, held_run
from coeffdream.training import run as training
from coeffdream.training.checkpoint import OPTIMIZER_FILE


def test_everything_that_changed_is_listed(options, learned, go_on, cat_folder):
    """Resuming with other options or photos would not be the same run; all differences are named."""
    run = learned(steps=1)
    (cat_folder / "00.txt").write_text("<V> cat at home")
    with pytest.raises(ConfigError) as caught:
        go_on(run, options(steps=2, lr=1e-3, rank=4, seed=7, method="lora"))
    message = str(caught.value)
    for difference in (
        "--lr was 0.0003 and is now 0.001",
        "--rank was 2 and is now 4",
        "--seed was 0 and is now 7",
        "--method was 'coeff-lora' and is now 'lora'",
        "photos or captions",
        "5 problems",
    ):
        assert difference in message


def test_other_class_noun_is_refused(options, learn, go_on, cat_folder):
    """The class noun is in the prior's prompt and in the sample pictures even where no caption has it."""
    for index in range(3):
        (cat_folder / f"{index:02d}.txt").write_text("<V> at home")
    run = learn(options(steps=1))
    with pytest.raises(ConfigError, match="--class was 'cat' and is now 'dog'"):
        go_on(run, options(steps=2, class_noun="dog"))


def test_fewer_steps_are_refused(options, learned, go_on):
    """A run cannot be resumed into its past."""
    run = learned(steps=2, checkpoint_every=1)
    with pytest.raises(ConfigError, match="--steps 1 is less than the 2 steps already done"):
        go_on(run, options(steps=1))


@pytest.mark.parametrize("recorded", [0, 2, 4])
def test_steps_are_held_against_the_newest_checkpoint(recorded, options, learned, go_on):
    """What run.json says may be older (killed in between) or newer (a damaged checkpoint was removed)."""
    run = learned(steps=4, checkpoint_every=2)
    run.write(dataclasses.replace(run.read(), status="training", steps_done=recorded))
    with pytest.raises(ConfigError, match="--steps 3 is less than the 4 steps already done"):
        go_on(run, options(steps=3, checkpoint_every=2))
    shutil.rmtree(list_checkpoints(run.checkpoints)[-1])
    assert go_on(run, options(steps=3, checkpoint_every=2))
    assert run.read().steps_done == 3


def test_a_live_run_is_resumed_by_nobody(options, learned, go_on, monkeypatch):
    """Refused before anything is loaded; once the other has ended it may be."""
    run = learned(steps=1)
    with monkeypatch.context() as patch, held_run(run, "train"):
        patch.setattr(training.Session, "prepare", None)
        with pytest.raises(
            InUseError, match=r"run cat2-coeff-lora is in use by process \d+ since .*\(train\); wait"
        ):
            go_on(run, options(steps=2))
    assert go_on(run, options(steps=2))


def test_other_weights_are_refused(options, learn, go_on, tiny_base, tmp_path):
    """The same --base with other weights in it is noticed."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "base"
    shutil.copytree(tiny_base, folder)
    config = options(steps=1, base=str(folder))
    run = learn(config)
    [weights] = (folder / "unet").glob("*.safetensors")
    save_file({name: value * 1.5 for name, value in load_file(weights).items()}, weights, {"format": "pt"})
    warm.keep_nothing()  # as a command of its own
    with pytest.raises(RunError, match="was trained on other weights"):
        go_on(run, dataclasses.replace(config, steps=2))


@pytest.mark.parametrize("file", [LORA_FILE, COEFF_FILE, OPTIMIZER_FILE, STATE_FILE])
@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_damaged_checkpoint(file, damage, options, learned, go_on):
    """A checkpoint cut short by a full disk is named, with the remedy, and nothing is resumed from it."""
    run = learned(steps=2, checkpoint_every=1)
    newest = list_checkpoints(run.checkpoints)[-1]
    if damage == "missing":
        (newest / file).unlink()
    else:
        (newest / file).write_bytes((newest / file).read_bytes()[:20])
    if (file, damage) == (STATE_FILE, "missing"):  # not a checkpoint any more; the one before it serves
        assert go_on(run, options(steps=3))
        return
    with pytest.raises(CoeffdreamError) as caught:
        go_on(run, options(steps=3))
    assert newest.name in str(caught.value)
    assert caught.value.exit_status == 2
    for path in newest.iterdir():
        path.unlink()
    newest.rmdir()
    assert go_on(run, options(steps=3))


@pytest.mark.parametrize("change", ["dropped", "reshaped"])
def test_checkpoint_with_foreign_moments(change, options, learned, go_on):
    """Adam's moments that are incomplete or of another shape must not be resumed from silently."""
    from safetensors.torch import load_file, save_file

    run = learned(steps=1)
    file = list_checkpoints(run.checkpoints)[-1] / OPTIMIZER_FILE
    tensors = load_file(file)
    name = next(name for name in tensors if name.endswith("|exp_avg"))
    if change == "dropped":
        del tensors[name]
    else:
        tensors[name] = tensors[name].flatten()[:1].clone()
    save_file(tensors, file)
    with pytest.raises(RunError, match="is damaged"):
        go_on(run, options(steps=2))


def test_damaged_log(options, learned, go_on):
    """A log with half a line in it is named instead of ending in a traceback."""
    run = learned(steps=2, checkpoint_every=1)
    first, second = run.log.read_text().splitlines()
    run.log.write_text(first[:20] + "\n" + second + "\n")
    with pytest.raises(RunError, match=r"train\.jsonl"):
        go_on(run, options(steps=3))
