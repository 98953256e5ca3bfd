"""Learning rates over the steps, clipped gradients, empty captions and the average of the adapter; all resumed exactly."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from coeffdream.config import TrainConfig
from coeffdream.errors import ConfigError, RunError
from coeffdream.records.run import LORA_FILE
from coeffdream.training import step as step_module
from coeffdream.training.average import LIVE_FILE
from coeffdream.training.rates import rate_factor
from coeffdream.training.step import NoiseSchedule, draw_sample


@pytest.mark.parametrize(
    ("ours", "theirs", "warmup"),
    [
        ("constant", "constant", 0),
        ("constant", "constant_with_warmup", 4),
        ("linear", "linear", 0),
        ("linear", "linear", 5),
        ("cosine", "cosine", 0),
        ("cosine", "cosine", 3),
    ],
)
def test_rates_are_those_of_diffusers(ours, theirs, warmup):
    """get_scheduler of the peer scripts is the independent source of every factor."""
    from diffusers.optimization import get_scheduler

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = get_scheduler(theirs, optimizer, num_warmup_steps=warmup, num_training_steps=12)
    config = TrainConfig(steps=12, lr_schedule=ours, lr_warmup=warmup)
    for step in range(12):
        assert rate_factor(step, config) == pytest.approx(schedule.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        schedule.step()


def test_both_groups_follow_and_the_log_says_so(options, learn):
    """alpha's own rate falls as the low-rank one does."""
    run = learn(options(steps=4, lr=1e-3, coeff_lr=4e-3, lr_schedule="linear"))
    rows = [json.loads(line) for line in run.log.read_text().splitlines()]
    assert [row["lr"] for row in rows] == pytest.approx([1e-3, 7.5e-4, 5e-4, 2.5e-4])
    assert [row["coeff_lr"] for row in rows] == pytest.approx([4e-3, 3e-3, 2e-3, 1e-3])


EVERYTHING = {
    "lr_schedule": "cosine",
    "lr_warmup": 2,
    "max_grad_norm": 0.01,
    "caption_dropout": 0.5,
    "ema": 0.9,
    "buckets": True,
    "holdout": 1,
    "batch_size": 2,
    "steps": 6,
}


def test_stopped_and_resumed_equals_straight(options, learn, go_on, interrupt_after, outcome):
    """Protects the schedule, the clipping, the captions' dropout, buckets and the average across Ctrl-C and --resume."""
    config = options(**EVERYTHING, coeff_dropout=0.5)
    straight = learn(config)
    stopped = learn(config, interrupt_after(3))
    assert (stopped.read().status, stopped.read().steps_done) == ("interrupted", 3)
    assert go_on(stopped, config)
    expected = outcome(straight)
    assert any(LIVE_FILE in name for name in expected["tensors"])
    assert outcome(stopped) == expected


@pytest.mark.parametrize(
    "change", [{"lr_schedule": "linear"}, {"lr_warmup": 1}, {"max_grad_norm": 1e-4}, {"ema": 0.5}]
)
def test_each_of_them_changes_what_is_learned(change, options, learn, learned, outcome):
    """Shows that the comparison above could fail."""
    plain, other = learned(steps=3), learn(options(steps=3, **change))
    assert outcome(plain)["tensors"] != outcome(other)["tensors"]


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_other_steps_are_another_schedule(schedule, options, learn, go_on):
    """A run that was to end after 2 steps has come to its lowest rate there: going on would be another run."""
    config = options(steps=2, lr_schedule=schedule)
    run = learn(config)
    with pytest.raises(ConfigError, match="--steps was 2 and is now 3, from which --lr-schedule"):
        go_on(run, dataclasses.replace(config, steps=3))


def test_the_gradient_is_clipped_as_a_whole(options, session, tmp_path):
    """One norm over low-rank weights and alpha together, as the peer scripts clip; the log keeps the norm before."""
    from coeffdream.progress import silent
    from coeffdream.training import loop

    norms = {}
    for most in (None, 1e-4):
        made = session(options(steps=1, max_grad_norm=most))
        schedule = NoiseSchedule.of(made.components.scheduler)
        log = tmp_path / f"{most}.jsonl"
        loop.run_steps(
            made.components.unet,
            made.state,
            made.data,
            schedule,
            made.config,
            log,
            after_step=lambda _: None,
            progress=silent,
        )
        gradients = [p.grad.flatten() for p in made.state.adapter.trainable.values() if p.grad is not None]
        norms[most] = float(torch.cat(gradients).norm()), json.loads(log.read_text())
    assert norms[None][0] > 1e-3
    assert norms[1e-4][0] == pytest.approx(1e-4, rel=1e-2)
    assert norms[1e-4][1]["lora_grad"] == norms[None][1]["lora_grad"]


def test_captions_are_dropped_by_position(options, session):
    """As often as was asked, whatever the batch, and with what guidance takes for the empty prompt."""
    made = session(options(caption_dropout=0.3))
    schedule = NoiseSchedule.of(made.components.scheduler)

    def drawn(config):
        return [draw_sample(made.data.photos, position, schedule, config, "photo") for position in range(200)]

    with_captions = drawn(dataclasses.replace(made.config, caption_dropout=0.0))
    dropped = 0
    for ours, theirs in zip(drawn(made.config), with_captions, strict=True):
        assert (ours.timestep, ours.sample.name) == (theirs.timestep, theirs.sample.name)
        assert torch.equal(ours.noisy, theirs.noisy)
        caption = theirs.sample.conditioning
        if not torch.equal(ours.sample.conditioning.embeds, caption.embeds):
            dropped += 1
            assert torch.equal(ours.sample.conditioning.embeds, caption.negative_embeds)
            assert torch.equal(ours.sample.conditioning.pooled, caption.negative_pooled)
    assert 40 <= dropped <= 80
    assert step_module.uniform(0, "photo-caption", 5) == step_module.uniform(0, "photo-caption", 5)


def test_the_average_is_what_is_kept_and_drawn(options, session, learn, monkeypatch):
    """By its own recurrence: decay min((1 + k) / (10 + k), --ema) from the second step on, beginning at the first."""
    from safetensors.torch import load_file

    lives = []
    from coeffdream.training import checkpoint

    keep = checkpoint.live_tensors
    monkeypatch.setattr(checkpoint, "live_tensors", lambda adapter: lives.append(keep(adapter)) or lives[-1])
    run = learn(options(steps=4, ema=0.15, lr=1e-2, checkpoint_every=1, coeff_dropout=0.0))
    expected = {name: value.clone() for name, value in lives[0].items()}
    for k, live in enumerate(lives[1:], start=1):
        decay = min((1 + k) / (10 + k), 0.15)
        expected = {name: decay * expected[name] + (1 - decay) * live[name] for name in expected}
    kept = load_file(run.adapter / LORA_FILE)
    lora = {name: value for name, value in expected.items() if f"unet.{name}" in kept}
    assert lora
    for name, value in lora.items():
        torch.testing.assert_close(kept[f"unet.{name}"], value, atol=1e-6, rtol=1e-5)
        assert not torch.equal(value, lives[-1][name])


def test_samples_are_drawn_with_the_average(options, session):
    """And training goes on from where it was."""
    from coeffdream.training.average import averaged

    made = session(options(ema=0.9))
    [first, *_] = made.state.adapter.trainable.values()
    before = first.detach().clone()
    with torch.no_grad():
        first.add_(1)
    with averaged(made.state.adapter, made.state.average):
        assert torch.equal(first, before)
    assert torch.equal(first, before + 1)


def test_a_checkpoint_without_its_live_parameters(options, learn, go_on):
    """Named as what is damaged, like any other file of it."""
    run = learn(options(steps=2, checkpoint_every=1, ema=0.9))
    newest = sorted(run.checkpoints.iterdir())[-1]
    (newest / LIVE_FILE).unlink()
    with pytest.raises(RunError, match="damaged"):
        go_on(run, options(steps=3, checkpoint_every=1, ema=0.9))
