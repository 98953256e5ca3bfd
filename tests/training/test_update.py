"""An update from gradients that are there: Adam's own, recorded or not."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch

from coeffdream.config import TrainConfig
from coeffdream.training.optimizer import new_optimizer
from coeffdream.training.update import Update

STEPS = 4


def options(**values) -> TrainConfig:
    return TrainConfig(lr=1e-2, coeff_lr=1e-1, lr_schedule="linear", steps=STEPS, max_grad_norm=1.0, **values)


def adapter_on(device: str) -> SimpleNamespace:
    generator = torch.Generator().manual_seed(0)
    lora = {name: torch.nn.Parameter(torch.randn(3, 2, generator=generator).to(device)) for name in "ab"}
    alpha = {"c": torch.nn.Parameter(torch.randn(2, 2, generator=generator).to(device))}
    return SimpleNamespace(weights=lora, alpha=alpha, trainable={**lora, **alpha})


def updated(adapter, optimizer, config, *, in_place: bool) -> list[list[float]]:
    """The norms of every step; each step's gradients are of a loss of the parameters as they are."""
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    update = Update(
        SimpleNamespace(adapter=adapter, optimizer=optimizer, scaler=scaler), config, in_place=in_place
    )
    norms = []
    for step in range(STEPS):
        update.clear()
        sum(parameter.pow(4).sum() for parameter in adapter.trainable.values()).backward()
        norms.append(update.norms())
        assert update.make(step) == 1 - step / STEPS
    return norms


def test_each_group_has_its_rate_and_one_norm_for_all():
    """Clipping is to the norm of all gradients; the linear schedule shrinks both rates alike."""
    config, adapter = options(), adapter_on("cpu")
    plain = copy.deepcopy(adapter)
    norms = updated(adapter, new_optimizer(adapter, config), config, in_place=False)
    groups = [
        {"params": list(plain.weights.values()), "lr": 1e-2},
        {"params": list(plain.alpha.values()), "lr": 1e-1},
    ]
    adam = torch.optim.Adam(groups)
    for step in range(STEPS):
        adam.zero_grad()
        sum(parameter.pow(4).sum() for parameter in plain.trainable.values()).backward()
        own = [torch.cat([p.grad.flatten() for p in group["params"]]).norm().item() for group in groups]
        assert norms[step] == pytest.approx(own)
        torch.nn.utils.clip_grad_norm_(plain.trainable.values(), 1.0)
        for group, rate in zip(adam.param_groups, (1e-2, 1e-1), strict=True):
            group["lr"] = rate * (1 - step / STEPS)
        adam.step()
    assert all(torch.equal(adapter.trainable[name], each) for name, each in plain.trainable.items())


@pytest.mark.gpu
def test_a_recorded_update_is_that_of_the_cpu():
    """Rates and counts lie on the card; gradients stay in place, and are zero after it."""
    config = options()
    on_card, on_cpu = adapter_on("cuda"), adapter_on("cpu")
    optimizer = new_optimizer(on_card, config)
    assert optimizer.defaults["capturable"]
    norms = updated(on_card, optimizer, config, in_place=True)
    assert norms == [
        pytest.approx(each, rel=1e-5)
        for each in updated(on_cpu, new_optimizer(on_cpu, config), config, in_place=False)
    ]
    for name, each in on_cpu.trainable.items():
        torch.testing.assert_close(
            on_card.trainable[name].detach().cpu(), each.detach(), rtol=1e-5, atol=1e-6
        )
        assert not on_card.trainable[name].grad.any()
        assert optimizer.state[on_card.trainable[name]]["step"] == STEPS
