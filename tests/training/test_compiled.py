"""--compile: the same training from compiled blocks, chosen by measuring, which changes nothing, and never in silence."""

from __future__ import annotations

import json

import pytest
import torch
from diffusers import UNet2DConditionModel

from coeffdream.errors import ConfigError
from coeffdream.progress import silent
from coeffdream.training import compiled
from coeffdream.training import run as training

# What dynamo says of inputs that are not leaves, whoever's they are.
pytestmark = [
    pytest.mark.usefixtures("nothing_compiled"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
]


@pytest.fixture
def takes(monkeypatch):
    """Let the two ways take these seconds a pass, whatever they do."""
    measured = compiled._seconds

    def decide(**seconds: float) -> None:
        def told(*given):
            spent = measured(*given)
            blocks = next(
                each for each in given[0].modules() if type(each).__name__ == "BasicTransformerBlock"
            )
            way = "as_written" if blocks._compiled_call_impl is None else "compiled"
            return [seconds[way]] * len(spent)

        monkeypatch.setattr(compiled, "_seconds", told)

    return decide


def rows(run):
    names = ("loss", "lora_grad", "alpha_grad")
    return [[json.loads(line)[name] for name in names] for line in run.log.read_text().splitlines()]


@pytest.mark.usefixtures("gxx")
def test_compiled_training_is_the_training(options, learn):
    """By torch's own compiler: losses and gradients of every step, with dropout of alpha, and no step compiles anything again."""
    config = options(method="coeff-dora", steps=4, coeff_dropout=0.5, sample_every=2, checkpoint_every=2)
    plain = learn(config)

    def from_the_second_on(stage, done, total, detail):
        if stage == "training" and done == 2:
            torch.compiler.set_stance("fail_on_recompile")

    try:
        made = learn(options(**{**vars(config), "compile": "on"}), from_the_second_on)
    finally:
        torch.compiler.set_stance("default")
    assert made.read().config.compile == "on"
    assert made.read().notes == []
    assert len(rows(plain)) == 4
    torch.testing.assert_close(rows(made), rows(plain), rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("traced")
def test_stopped_and_resumed_is_compiled_again(options, learn, go_on, interrupt_after, outcome):
    """What `auto` chose is the run's: resuming measures nothing, and is exact."""
    config = options(steps=4, coeff_dropout=0.5, compile="on")
    straight = learn(config)
    stopped = learn(config, interrupt_after(2))
    assert go_on(stopped, config)
    assert outcome(stopped) == outcome(straight)


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize(("seconds", "chosen"), [(0.5, "on"), (2.0, "off")])
def test_auto_keeps_the_faster_and_says_both(seconds, chosen, options, learn, takes, outcome):
    """Measuring leaves no trace in what is trained: a run that goes on as written is the run without it."""
    takes(as_written=1.0, compiled=seconds)
    config = options(steps=3, coeff_dropout=0.5)
    made = learn(options(**{**vars(config), "compile": "auto"}))
    record = made.read()
    assert record.config.compile == chosen
    [note] = record.notes
    assert f"{seconds * 1000:.0f} ms compiled, 1000 ms as written" in note
    if chosen == "off":
        mine, plain = outcome(made), outcome(learn(config))
        assert mine["tensors"] == plain["tensors"]
        assert mine["log"] == plain["log"]


def test_memory_that_does_not_suffice_is_not_called_another_thing(options, given, monkeypatch):
    """Who has too little memory wants to hear what would fit, and not that blocks cannot be compiled."""

    def fills(self, **how):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(UNet2DConditionModel, "compile_repeated_blocks", fills)
    with pytest.raises(ConfigError) as caught:
        training.train(*given(options(compile="on")), silent)
    assert "memory" in str(caught.value)
    assert "cannot be compiled" not in str(caught.value)


def test_blocks_that_cannot_be_compiled(options, given, learn, monkeypatch):
    """on: one line, and nothing was begun. auto: said, and trained as written."""

    def fails(self, **how):
        raise RuntimeError("no compiler\nwith many more lines")

    monkeypatch.setattr(UNet2DConditionModel, "compile_repeated_blocks", fails)
    with pytest.raises(ConfigError, match=r"--compile on: .* \(no compiler\); leave it out"):
        training.train(*given(options(compile="on")), silent)
    record = learn(options(compile="auto")).read()
    assert (record.status, record.config.compile) == ("complete", "off")
    assert "cannot be compiled here (no compiler); training goes on without" in record.notes[0]


@pytest.mark.gpu
def test_on_a_card_compiled_blocks_are_recorded(options, learn):
    """Where steps are replayed, what is replayed is compiled; losses and gradients stay those of the plain run."""
    config = options(steps=6, coeff_dropout=0.5, device="cuda", precision="fp32")
    plain, made = learn(config), learn(options(**{**vars(config), "compile": "on"}))
    assert made.read().notes == []
    torch.testing.assert_close(rows(made), rows(plain), rtol=1e-3, atol=1e-5)
