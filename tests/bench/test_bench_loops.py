"""Ours beside diffusers and PEFT: what is run, that it is the same work, and that ratios are what they say."""

from __future__ import annotations

import json
import statistics
import sys

import pytest
import torch

from coeffdream.adapters.install import install, spec_for
from coeffdream.backbones.base import find_base
from coeffdream.bench import loops, peer, script
from coeffdream.bench.loops import PEER, compare_drawing, compare_training
from coeffdream.bench.subject import make_subject
from coeffdream.cli.app import main
from coeffdream.config import TrainConfig
from coeffdream.errors import ConfigError
from coeffdream.progress import silent
from coeffdream.training.step import Draw, NoiseSchedule, losses

CONFIG = TrainConfig(resolution=32, steps=2, lora_targets="all.q,all.v", sample_every=0)
NAMES = [PEER, "coeffdream, lora", "coeffdream, coeff-lora"]


@pytest.fixture(scope="module")
def subject(tiny_base):
    return make_subject(find_base(str(tiny_base)), 32, torch.device("cpu"), torch.float32)


def same_as_before(unet, state):
    after = unet.state_dict()
    return list(after) == list(state) and all(torch.equal(after[name], state[name]) for name in state)


@pytest.mark.parametrize(
    "compared",
    [
        lambda subject: compare_training(subject, CONFIG, 2, silent),
        lambda subject: compare_drawing(subject, CONFIG, 2, 5.0, 2, silent),
    ],
    ids=["train", "generate"],
)
def test_every_contender_is_timed_and_leaves_nothing_behind(subject, compared):
    """Ratios are those of medians, the peer's are 1, and the UNet is afterwards what it was."""
    unet = subject.components.unet
    state = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    found = compared(subject)
    assert [each.name for each in found.contenders] == NAMES
    first = found.contenders[0]
    assert (first.time_to_peer, first.peak_to_peer) == (1, 1)
    for each in found.contenders:
        assert len(each.seconds) == (4 if found.work == "train" else 2)
        assert min(each.seconds) > 0
        assert each.time_to_peer == statistics.median(each.seconds) / first.median
        assert each.peak > sum(parameter.nbytes for parameter in unet.parameters())
    assert same_as_before(unet, state)


def test_contenders_take_turns(subject, monkeypatch):
    """A B C A B C: a machine that slows down half-way slows all of them."""
    order = []
    monkeypatch.setattr(loops, "_peer_training", lambda *_: order.append("peer") or [1.0])
    monkeypatch.setattr(loops, "_own_training", lambda _, config, steps: order.append(config.method) or [2.0])
    found = compare_training(subject, CONFIG, 2, silent)
    assert order == ["peer", "lora", "coeff-lora"] * 3  # the first is the warm-up
    assert [each.time_to_peer for each in found.contenders] == [1, 2, 2]


def test_the_peers_loss_and_gradient_are_ours(subject, monkeypatch):
    """The same work: one step of the peer on given noise is one of ours."""
    unet, samples = subject.components.unet, subject.samples
    noise = torch.Generator().manual_seed(7)
    drawn = [torch.randn(samples[0].posterior.mean.shape, generator=noise)[None] for _ in range(2)]
    monkeypatch.setattr(torch, "randn_like", lambda like: drawn.pop(0))
    monkeypatch.setattr(torch, "randint", lambda *_, **__: torch.tensor([300]))
    posterior, target = (each[0] for each in drawn)
    modules = loops._modules(unet, CONFIG)
    parameters = peer.add_lora(unet, CONFIG.rank, modules)
    start = [parameter.detach().clone() for parameter in parameters]
    seen = []
    monkeypatch.setattr(
        torch.optim.Adam, "step", lambda self: seen.extend(p.grad.clone() for p in parameters)
    )
    peer.train(
        unet,
        parameters,
        subject.components.scheduler,
        samples,
        steps=1,
        batch_size=1,
        lr=1e-4,
        after_step=lambda done: None,
    )
    unet.unload_lora()
    monkeypatch.undo()

    adapter = install(unet, spec_for(TrainConfig(method="lora", lora_targets=CONFIG.lora_targets), unet))
    with torch.no_grad():
        for own, theirs in zip(adapter.lora.values(), start, strict=True):
            own.copy_(theirs)
    schedule = NoiseSchedule.of(subject.components.scheduler)
    level = schedule.alphas_cumprod[300].float()
    latents = samples[0].posterior.sample(posterior)
    noisy = level.sqrt() * latents + (1 - level).sqrt() * target
    unet.train()
    drawn = Draw(samples[0], 300, noisy, target, 1.0)
    losses(unet, [drawn], unet.device, unet.dtype).mean().backward()
    for own, theirs in zip(adapter.lora.values(), seen, strict=True):
        torch.testing.assert_close(own.grad, theirs, rtol=1e-3, atol=1e-6)
    adapter.uninstall()


def test_a_script_is_timed_by_its_difference(tmp_path):
    """What a process takes before its first step is no part of a step."""
    stand_in = tmp_path / "script.py"
    stand_in.write_text(
        "import sys, time\n"
        "steps = int(sys.argv[sys.argv.index('--max_train_steps') + 1])\n"
        "assert sys.argv[sys.argv.index('--rank') + 1] == '2'\n"
        "time.sleep(0.5 * (steps - 1))\n"
    )
    config = TrainConfig(resolution=32, steps=4, precision="fp32")
    step, process = script.time_script(stand_in, "base", tmp_path, config)
    assert 0.3 < step < 1.5
    assert process > 4 * 0.5
    stand_in.write_text("raise SystemExit('no such option')")
    with pytest.raises(ConfigError, match=r"script\.py ended with status 1: no such option"):
        script.time_script(stand_in, "base", tmp_path, config)
    with pytest.raises(ConfigError, match="is no file"):
        script.time_script(tmp_path / "absent.py", "base", tmp_path, config)


def call(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["coeffdream", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    return ended.value.code, printed.out, printed.err


@pytest.mark.parametrize("work", ["train", "generate"])
def test_the_command_prints_ratios(work, tiny_base, monkeypatch, capsys):
    """As JSON, the precision and the device as used."""
    more = ("--steps", 1) if work == "train" else ("--sampling-steps", 1)
    status, out, _ = call(
        monkeypatch,
        capsys,
        "bench",
        work,
        "--base",
        tiny_base,
        "--rounds",
        1,
        "--resolution",
        32,
        "--json",
        *more,
    )
    found = json.loads(out)
    assert (status, found["device"], found["dtype"], found["batch"]) == (0, "cpu", "float32", 1)
    assert [each["name"] for each in found["contenders"]] == NAMES
    assert found["contenders"][0]["time_to_peer"] == 1


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("--rounds", 0), "--rounds"),
        (("--batch-size", 0), "--batch-size"),
        (("--precision", "fp8"), "--precision"),
        (("--lora-targets", "x"), "--lora-targets"),
        (("--base", "random-sdxl", "--script", "x.py"), "--script needs a base with files"),
    ],
)
def test_what_cannot_be_timed_is_one_line(arguments, fault, monkeypatch, capsys):
    status, out, err = call(monkeypatch, capsys, "bench", "train", *arguments)
    assert (status, out) == (2, "")
    assert fault in err
    assert "Traceback" not in err


def test_drawn_weights_are_of_the_true_size_and_keep_the_size_of_what_passes():
    """random-sdxl, here made small: every weight is finite, and the same each time."""
    from diffusers import UNet2DConditionModel

    from coeffdream.bench.subject import _drawn

    small = {
        "block_out_channels": (32, 64),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": 16,
        "attention_head_dim": 8,
    }
    made = []
    for _ in range(2):
        with torch.device("meta"):
            unet = UNet2DConditionModel(**small)
        made.append(_drawn(unet, torch.device("cpu")))
    out = made[0](
        torch.randn(1, 4, 16, 16), torch.tensor([3]), encoder_hidden_states=torch.randn(1, 5, 16)
    ).sample
    assert 0.1 < out.std() < 10
    assert all(torch.equal(a, b) for a, b in zip(made[0].parameters(), made[1].parameters(), strict=True))
