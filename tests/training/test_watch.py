"""Training that goes wrong without a NaN: noticed, named, and never called good."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from coeffdream.errors import DivergedError, RunError
from coeffdream.training import loop, passes
from coeffdream.training import run as training
from coeffdream.training.watch import LAST, START, Watch


def row(step: int, loss: float, seconds: float = 0.5) -> dict:
    return {"step": step, "loss": loss, "seconds": seconds}


def look(losses: list[float], past: int = 0) -> int | None:
    """The step at which the watch gives up, None when it does not."""
    rows = [row(step, loss) for step, loss in enumerate(losses, start=1)]
    watch = Watch(rows[:past], 1e-3)
    for each in rows[past:]:
        try:
            watch.look(each)
        except DivergedError:
            return each["step"]
    return None


def test_a_loss_that_runs_away_is_caught_after_ten_steps():
    """The rule: each of the last 10 losses above the largest of the first 20."""
    assert look([0.5] * 30 + [0.6] * 20) == 40
    assert look([0.5] * 19 + [0.7] + [0.6] * 20) is None
    assert look([0.5] * 20 + ([0.6] * 9 + [0.5]) * 5) is None


def test_a_resumed_run_is_held_against_its_own_start():
    """Not against the steps after the checkpoint, which may have been bad already."""
    losses = [0.5] * 25 + [0.9] * 20
    assert look(losses, past=28) == look(losses) == 35


def test_short_runs_are_left_alone():
    """Thirty steps are needed before anything can be said."""
    assert look([0.1] * START + [9.0] * (LAST - 1)) is None
    assert look([0.1] * START + [9.0] * LAST) == START + LAST


def test_the_spread_of_ordinary_losses_raises_no_alarm():
    """200 runs of 500 steps whose losses, like those of diffusion, vary a hundredfold with the timestep."""
    draw = np.random.default_rng(0).lognormal(-2, 1.2, (200, 500))
    assert all(look(list(losses)) is None for losses in draw)


def test_a_step_ten_times_slower_is_told_once():
    """Another program on the card, memory that spills over: worth a look, not an error."""
    watch = Watch([], 1e-3)
    said = [watch.look(row(step, 0.5, 5.0 if step in (31, 41) else 0.4)) for step in range(1, 51)]
    [line] = [line for line in said if line]
    assert said[30] == line
    assert line.startswith("step 31 took 5.0 s where 0.40 s is usual")


def test_a_step_that_is_slow_only_by_milliseconds_is_not():
    """On a small base a hiccup of the machine is ten steps long."""
    watch = Watch([], 1e-3)
    assert not any(watch.look(row(step, 0.5, 0.9 if step == 31 else 0.004)) for step in range(1, 51))


def test_a_run_whose_loss_ran_away_is_diverged(options, given, monkeypatch):
    """One line with the remedy; run.json says so, too, and there is no adapter to draw with."""
    original, calls = passes.losses_of, []

    def losses_of(unet, batch):
        calls.append(batch)
        return original(unet, batch) * (100 if len(calls) > 22 else 1)

    monkeypatch.setattr(passes, "losses_of", losses_of)
    config = options(steps=60, checkpoint_every=30)
    with pytest.raises(
        DivergedError, match=r"in steps 23 to 32 it was .* smaller --lr \(it is 0\.0003\)"
    ) as caught:
        training.train(*given(config), lambda *_: None)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 1
    run = training.RunFolder((training.Path(config.runs) / "latest").resolve())
    record = run.read()
    assert (record.status, record.steps_done, record.adapter) == ("diverged", 30, {})
    assert record.notes == [str(caught.value)]
    assert len(run.log.read_text().splitlines()) == 32
    assert not run.adapter.exists()


def test_what_the_watch_sees_is_told_and_noted(options, given, monkeypatch):
    """At the step itself to whoever sits there, and in run.json to who comes later."""
    monkeypatch.setattr(Watch, "look", lambda self, row: "odd" if row["step"] == 2 else None)
    heard: list[object] = []
    run, _ = training.train(*given(options(steps=3)), lambda *what: heard.append(what[:2]), heard.append)
    assert heard[heard.index(("training", 2)) :] == [("training", 2), "odd", ("training", 3)]
    assert run.read().notes == ["odd"]


@pytest.mark.parametrize("lr", [1e6, 1e3])
def test_a_learning_rate_beyond_reason(lr, options, learn):
    """Whatever gives way first, loss, gradient or weights: exit status 1, and nothing that looks learned."""
    config = options(steps=2, lr=lr)
    with pytest.raises((DivergedError, loop.NonFiniteLossError), match="smaller --lr"):
        learn(config)
    run = training.RunFolder((training.Path(config.runs) / "latest").resolve())
    assert run.read().status in ("diverged", "failed")
    assert not run.adapter.exists()
    assert not list(run.checkpoints.glob("[0-9]*"))


@pytest.mark.parametrize("spread", [0, 2])
def test_a_sample_picture_of_one_color_is_told(spread, options, given, monkeypatch):
    """All black is what a broken model draws; a person looks at the samples only much later."""
    from coeffdream.training import samples

    flat = np.full((32, 32, 3), 7, np.uint8)
    flat[0, 0] += spread
    monkeypatch.setattr(samples, "draw", lambda components, batch, *_: [Image.fromarray(flat)] * len(batch))
    said: list[str] = []
    run, _ = training.train(*given(options(steps=1, sample_every=1)), lambda *_: None, said.append)
    assert [line[:36] for line in said] == [f"a sample picture of step {step} is of one" for step in (0, 1)]
    assert run.read().notes == said


def test_a_log_edited_by_hand(options, learn, go_on):
    """A row without its loss is named instead of ending in a traceback."""
    run = learn(options(steps=1))
    run.log.write_text('{"step": 1}\n')
    with pytest.raises(RunError, match=r"train\.jsonl holds a step without its loss or seconds"):
        go_on(run, options(steps=2))
