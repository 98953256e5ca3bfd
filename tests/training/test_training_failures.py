"""When the numbers go wrong: the run stops before the weights do, and says where."""

from __future__ import annotations

import pytest
import torch

from coeffdream.errors import ConceptError, ConfigError, NonFiniteLossError
from coeffdream.progress import silent
from coeffdream.records.run import RunFolder
from coeffdream.training import passes, session
from coeffdream.training import run as training
from coeffdream.training.advice import PREPARING, TRAINING, remedies

NAN = float("nan")


@pytest.fixture
def poisoned(monkeypatch):
    """From forward pass number `at` on, `poison` acts on the losses."""

    def poison_at(at, poison):
        as_tensors, losses_of, calls = passes.as_tensors, passes.losses_of, []

        def named(draws, *where):
            calls.append([draw.sample.name for draw in draws])
            return as_tensors(draws, *where)

        def poisoned(unet, batch):
            each = losses_of(unet, batch)
            return poison(each) if len(calls) >= at else each

        monkeypatch.setattr(passes, "as_tensors", named)
        monkeypatch.setattr(passes, "losses_of", poisoned)
        return calls

    return poison_at


def failed_run(config) -> RunFolder:
    return RunFolder((training.Path(config.runs) / "latest").resolve())


def test_loss_that_is_not_a_number(options, learn, go_on, poisoned, monkeypatch, outcome):
    """Step and photo are named, no weight is touched, and the last checkpoint is the good one."""
    config = options(steps=4, batch_size=2, checkpoint_every=1)
    with monkeypatch.context():
        calls = poisoned(3, lambda each: torch.where(torch.tensor([False, True]), NAN, each))
        with pytest.raises(NonFiniteLossError) as caught:
            learn(config)
        monkeypatch.undo()
    message = str(caught.value)
    assert "step 3" in message
    assert calls[2][1] in message
    assert calls[2][0] not in message
    assert caught.value.exit_status == 1
    run = failed_run(config)
    assert (run.read().status, run.read().steps_done) == ("failed", 2)
    assert not run.adapter.exists()
    assert go_on(run, config)
    assert outcome(run) == outcome(learn(config))


@pytest.mark.parametrize("value", [NAN, float("inf")])
def test_weights_are_as_they_were(value, options, session, poisoned, tmp_path):
    """The optimizer never sees the bad loss."""
    config = options(steps=1)
    ready = session(config)
    poisoned(1, lambda each: each * value)
    before = {name: parameter.detach().clone() for name, parameter in ready.state.adapter.trainable.items()}
    run = RunFolder(tmp_path / "runs" / "bad")
    with pytest.raises(NonFiniteLossError, match="step 1"):
        training.execute(ready, run, ready.record("bad", "training"))
    assert all(
        torch.equal(parameter, before[name]) for name, parameter in ready.state.adapter.trainable.items()
    )


def test_gradient_that_is_not_a_number(options, session, poisoned, tmp_path):
    """A finite loss with a broken gradient must not reach the weights either."""
    ready = session(options(steps=2))
    alpha = next(iter(ready.state.adapter.alpha.values()))
    # The square root has an infinite slope at zero: the loss stays as it is, its gradient does not.
    poisoned(2, lambda each: each + (alpha - alpha.detach()).sqrt().sum())
    with pytest.raises(NonFiniteLossError, match="step 2"):
        training.execute(ready, RunFolder(tmp_path / "runs" / "bad"), ready.record("bad", "training"))
    assert all(parameter.isfinite().all() for parameter in ready.state.adapter.trainable.values())
    assert ready.state.step == 1


def test_out_of_memory_says_what_to_turn_down(options, learn, poisoned):
    """A GPU that is too small ends in advice, and what was saved is kept."""

    def exhausted(each):
        raise torch.OutOfMemoryError("CUDA out of memory")

    config = options(steps=3, checkpoint_every=1, batch_size=2)
    poisoned(2, exhausted)
    with pytest.raises(ConfigError, match="--gradient-checkpointing, --batch-size 1 --grad-accum 2"):
        learn(config)
    assert (failed_run(config).read().status, failed_run(config).read().steps_done) == ("failed", 1)


def test_out_of_memory_before_the_first_step(options, learn, monkeypatch):
    """Nothing was begun, so nothing is left; what training alone could save is not named."""

    def exhausted(*given):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(session, "cache_concept", exhausted)
    config = options(batch_size=2)
    with pytest.raises(ConfigError, match=r"encoding the photos\. Try a machine with more memory"):
        learn(config)
    assert not training.Path(config.runs).exists()


@pytest.mark.parametrize(
    ("changes", "doing", "advice"),
    [
        ({}, TRAINING, ["--gradient-checkpointing"]),
        (
            {"batch_size": 3, "grad_accum": 2},
            TRAINING,
            ["--gradient-checkpointing", "--batch-size 1 --grad-accum 6"],
        ),
        ({"gradient_checkpointing": True, "resolution": 1024}, TRAINING, ["--resolution 768"]),
        (
            {"gradient_checkpointing": True, "resolution": 768, "sample_every": 1},
            TRAINING,
            ["--sample-every 0"],
        ),
        ({"gradient_checkpointing": True}, TRAINING, ["a machine with more memory"]),
        (
            {"device": "cuda", "precision": "fp32", "resolution": 1024},
            PREPARING,
            ["--precision bf16", "--resolution 768"],
        ),
        ({"device": "cuda:0", "batch_size": 4}, PREPARING, ["a GPU with more memory"]),
        (
            {"device": "cuda", "precision": "bf16", "gradient_checkpointing": True},
            TRAINING,
            ["--base-precision int8", "--offload blocks"],
        ),
        (
            {
                "device": "cuda",
                "gradient_checkpointing": True,
                "base_precision": "nf4",
                "offload": "blocks",
            },
            TRAINING,
            ["a GPU with more memory"],
        ),
    ],
    ids=str,
)
def test_advice_names_only_what_is_turned_up(options, changes, doing, advice):
    """What is off or small already is not asked for."""
    assert remedies(options(**changes), doing) == advice


def test_nothing_is_written_for_a_run_that_cannot_start(options, learn):
    """A resolution or a choice of layers that cannot be is found before the run folder is made."""
    for change in ({"resolution": 36}, {"alpha_layers": "no_such_block"}):
        config = options(**change)
        with pytest.raises(ConfigError):
            learn(config)
        assert not training.Path(config.runs).exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda photo: photo.unlink(), r"00\.png does not exist"),
        (
            lambda photo: photo.write_bytes(photo.with_name("01.png").read_bytes()),
            r"00\.png was altered after",
        ),
        (lambda photo: photo.write_bytes(b""), r"00\.png is empty"),
    ],
)
def test_a_photo_that_changes_before_it_is_encoded(change, message, options, given):
    """While the base was being loaded: nothing is learned from another picture than run.json names."""
    config, concept, base = given(options())
    change(concept.images[0].path)
    with pytest.raises(ConceptError, match=message):
        training.train(config, concept, base, silent)
    assert not training.Path(config.runs).exists()
