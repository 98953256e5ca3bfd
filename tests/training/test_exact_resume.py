"""A run that was stopped and resumed is the run that was never stopped, bit for bit."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
from pathlib import Path

import pytest

from coeffdream.errors import RunError
from coeffdream.progress import silent
from coeffdream.training import run as training
from coeffdream.training import session
from coeffdream.training.checkpoint import restore_checkpoint, save_checkpoint
from coeffdream.training.loop import run_steps
from coeffdream.training.step import NoiseSchedule


@pytest.mark.parametrize(
    ("method", "base_precision"), [("coeff-lora", "auto"), ("coeff-dora", "auto"), ("coeff-dora", "int8")]
)
def test_stopped_and_resumed_equals_straight(
    method, base_precision, options, learn, go_on, interrupt_after, outcome
):
    """Protects weights, Adam's moments, dropout masks and the log across Ctrl-C and --resume."""
    config = options(
        method=method, base_precision=base_precision, steps=6, grad_accum=2, coeff_dropout=0.5, min_snr=5.0
    )
    straight = learn(config)
    stopped = learn(config, interrupt_after(3))
    record = stopped.read()
    assert (record.status, record.steps_done) == ("interrupted", 3)
    assert not stopped.adapter.exists()
    assert go_on(stopped, config)
    assert stopped.read().status == "complete"
    found, expected = outcome(stopped), outcome(straight)
    assert len(expected["log"]) == 6
    assert any("exp_avg_sq" in name for name in expected["tensors"])
    assert any(name.endswith(".alpha") for name in expected["tensors"])
    assert found == expected


def test_the_loss_scale_is_resumed(options, session, tmp_path):
    """float16 finds its loss scale by trying; a resumed run that began at 65536 again would skip steps."""
    config = options(precision="fp16")
    stopped, resumed = session(config).state, session(config).state
    assert stopped.scaler.is_enabled()
    stopped.scaler.load_state_dict({**stopped.scaler.state_dict(), "scale": 512.0, "_growth_tracker": 7})
    stopped.step = 7
    restore_checkpoint(save_checkpoint(tmp_path, stopped, "any"), resumed, "any")
    assert (resumed.scaler.get_scale(), resumed.scaler.state_dict()["_growth_tracker"]) == (512.0, 7)
    assert resumed.step == 7


def test_resumed_at_every_step_equals_straight(options, learn, go_on, interrupt_after, outcome):
    """Protects a run that is interrupted again and again."""
    config = options(steps=3, coeff_dropout=0.5)
    straight = learn(config)
    run = learn(dataclasses.replace(config, steps=1))
    for steps in (2, 3):
        assert go_on(run, dataclasses.replace(config, steps=steps))
    assert outcome(run) == outcome(straight)


def test_extended_equals_longer(options, learn, go_on, outcome):
    """Protects --resume --steps N: a finished run goes on as if it had been meant to."""
    config = options(steps=6, coeff_dropout=0.5)
    longer = learn(config)
    extended = learn(dataclasses.replace(config, steps=4))
    assert extended.read().status == "complete"
    assert go_on(extended, config)
    assert outcome(extended) == outcome(longer)
    assert (extended.read().steps_done, extended.read().config.steps) == (6, 6)


def test_dropout_is_part_of_what_is_compared(options, learn, outcome):
    """Shows that the comparison above could fail: another dropout is another run."""
    one, other = (learn(options(coeff_dropout=rate)) for rate in (0.0, 0.5))
    assert outcome(one)["tensors"] != outcome(other)["tensors"]


def test_killed_run_keeps_its_log(options, learn, go_on, monkeypatch, outcome):
    """A crash right after a checkpoint must not cost the log the rows up to that checkpoint."""
    config = options(steps=4, checkpoint_every=2)
    straight = learn(config)
    write = training.save_checkpoint

    def power_cut(*arguments):
        write(*arguments)
        raise SystemError("no more power")

    monkeypatch.setattr(training, "save_checkpoint", power_cut)
    with pytest.raises(SystemError):
        learn(config)
    monkeypatch.setattr(training, "save_checkpoint", write)
    killed = training.RunFolder((straight.path.parent / "latest").resolve())
    assert killed.path != straight.path
    assert (killed.read().status, killed.read().steps_done) == ("failed", 2)
    assert go_on(killed, config)
    assert outcome(killed) == outcome(straight)


def test_second_ctrl_c_stops_at_once(options, learn, go_on, outcome):
    """Two presses end the run inside the step; what a checkpoint holds stays resumable."""
    config = options(steps=4, checkpoint_every=1)

    def impatient(stage, done, total, note):
        if stage == "training" and done == 3:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        learn(config, impatient)
    run = training.RunFolder((training.Path(config.runs) / "latest").resolve())
    assert (run.read().status, run.read().steps_done) == ("interrupted", 2)
    assert go_on(run, config)
    assert outcome(run) == outcome(learn(config))


def test_ctrl_c_in_the_first_pictures(options, given, monkeypatch):
    """Ctrl-C before the first step is an interrupted run, too, not one that seems to train for ever."""

    def pressed(self, file):
        raise KeyboardInterrupt

    config = options(sample_every=1)
    monkeypatch.setattr(session.Sampler, "draw", pressed)
    with pytest.raises(KeyboardInterrupt):
        training.train(*given(config), lambda *_: None)
    run = training.RunFolder((training.Path(config.runs) / "latest").resolve())
    assert (run.read().status, run.read().steps_done) == ("interrupted", 0)


def test_signal_handlers_are_put_back(options, learn):
    """Protects the caller's own Ctrl-C."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    learn(options(steps=1))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize(("space", "kept"), [(2.0, [1, 2, 3, 4, 5]), (0.0, [4, 5])])
def test_checkpoints_stay_while_there_is_space(space, kept, options, learn):
    """Protects what `generate --checkpoint` and `sweep` draw with, and the disk."""
    run = learn(options(steps=5, checkpoint_every=1, checkpoint_gb=space))
    assert [int(path.name) for path in sorted(run.checkpoints.iterdir())] == kept


def test_the_name_is_claimed_before_loading(options, learn):
    """A second training that begins while the first still loads gets a run of its own; neither is seen before it is one."""
    names = []

    def second(stage, done, total, note):
        if stage == "loading the base" and not names:
            names.append("")
            assert not list(Path(options().runs).glob("*/run.json"))
            names.append(learn(options(steps=1)).path.name)

    first = learn(options(steps=1), second)
    assert (first.path.name, names[1]) == ("cat2-coeff-lora", "cat2-coeff-lora-2")
    assert (Path(options().runs) / "latest").resolve() == first.path


@pytest.mark.parametrize("stage", ["prepare", "run_steps"])
def test_nothing_is_written_into_a_folder_that_was_removed(stage, options, learn, monkeypatch):
    """While the base loads, or after the last step: what lies under the name now, if anything, is another's."""
    where = training.Session if stage == "prepare" else training
    original = getattr(where, stage)

    def removing(*given, **more):
        done = original(*given, **more)
        shutil.rmtree(Path(options().runs) / "cat2-coeff-lora")
        return done

    monkeypatch.setattr(where, stage, removing)
    with pytest.raises(RunError, match="was removed or replaced while it was being worked in"):
        learn(options(steps=1))
    assert not list(Path(options().runs).glob("cat2-*/*"))


def test_latest_that_cannot_be_made_costs_nothing(options, given, learn, monkeypatch):
    """A folder of somebody's own in its place, or a disk that refuses: the run is trained all the same."""
    own = Path(options().runs) / "latest" / "notes.txt"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    assert learn(options(steps=1)).read().status == "complete"
    assert own.read_text() == "mine"

    def refused(run):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(training, "point_latest_at", refused)
    told = []
    run, _ = training.train(*given(options(steps=1)), silent, told.append)
    assert run.read().status == "complete"
    assert told == [
        f"runs/latest could not be written (Permission denied); name this run with --run {run.path.name}"
    ]


@pytest.mark.parametrize("left", ['{"step": 2, "lo', '{"step": 2, "loss": 9.0, "seconds": 1.0}\n', "\0" * 40])
def test_what_a_kill_left_behind_the_checkpoint(left, options, learned, go_on):
    """Steps, half steps or the zeros of a power cut beyond the checkpoint: they are made again."""
    run = learned(steps=1)
    run.log.write_text(run.log.read_text() + left)
    assert go_on(run, options(steps=2))
    rows = [json.loads(line) for line in run.log.read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]
    assert rows[1]["loss"] != 9.0


def test_log_has_what_a_person_wants_to_plot(options, learn):
    """Protects the fields of train.jsonl."""
    run = learn(options(steps=2, batch_size=2, coeff_lr=1e-3))
    rows = [json.loads(line) for line in run.log.read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]
    for row in rows:
        assert row["loss"] > 0
        assert row["prior_loss"] == 0
        assert row["alpha_grad"] > 0
        assert row["lora_grad"] > 0
        assert (row["lr"], row["coeff_lr"]) == (3e-4, 1e-3)
        assert len(row["timesteps"]) == len(row["photos"]) == 2
        assert row["seconds"] == round(row["seconds"], 4)


def test_log_grows_by_a_line_a_step(options, session):
    """Who watches a long run sees its loss without waiting for a checkpoint."""
    ready = session(options(steps=27))
    log, seen = Path(ready.config.runs) / "log.jsonl", []
    run_steps(
        ready.components.unet,
        ready.state,
        ready.data,
        NoiseSchedule.of(ready.components.scheduler),
        ready.config,
        log,
        after_step=lambda _: seen.append(len(log.read_text().splitlines()) if log.exists() else 0),
        progress=silent,
    )
    assert seen == list(range(1, 28))


def test_run_record_counts_what_is_trained(learned):
    """As numbers and as a share of the UNet: what Table 3 of the paper prints."""
    counted = json.loads((learned(steps=1).path / "run.json").read_text())["parameters"]
    trained = 4 * 2 * (2 * 32 + 2 * 32) + 8 * 4 * 4
    assert (counted["lora"], counted["alpha"], counted["trained"]) == (trained - 128, 128, trained)
    assert (counted["lora_modules"], counted["alpha_layers"]) == (8, 8)
    assert counted["percent"] == pytest.approx(100 * trained / counted["unet"])


def test_latest_is_the_run_that_was_resumed(options, learn, go_on):
    """`generate` without a name draws with the run that was trained last, also when that one went on."""
    first, second = (learn(options(steps=1)) for _ in range(2))
    latest = Path(options().runs) / "latest"
    assert latest.resolve() == second.path.resolve()
    assert go_on(first, options(steps=2))
    assert latest.resolve() == first.path.resolve()
