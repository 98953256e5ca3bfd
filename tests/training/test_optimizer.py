"""Adam's groups, its state as tensors, and the norm that is logged."""

from __future__ import annotations

import pytest
import torch

from coeffdream.training.optimizer import gradient_norms, new_optimizer, optimizer_tensors


def test_two_groups_with_a_rate_each(options, session):
    """The low-rank weights learn at --lr, alpha at --coeff-lr; a method without one of them has one group."""
    state = session(options(lr=1e-3, coeff_lr=5e-2)).state
    lora, alpha = state.optimizer.param_groups
    assert (lora["lr"], alpha["lr"]) == (1e-3, 5e-2)
    assert [id(p) for p in lora["params"]] == [id(p) for p in state.adapter.lora.values()]
    assert [id(p) for p in alpha["params"]] == [id(p) for p in state.adapter.alpha.values()]
    for method, rate in (("lora", 1e-3), ("coeff", 5e-2)):
        made = session(options(method=method, lr=1e-3, coeff_lr=5e-2)).state
        assert [
            group["lr"] for group in new_optimizer(made.adapter, options(lr=1e-3, coeff_lr=5e-2)).param_groups
        ] == [rate]


def test_state_has_a_name_for_each_moment_of_each_parameter(options, session):
    """Adam's own tensors after a step; none before the first."""
    state = session(options()).state
    assert optimizer_tensors(state.optimizer, state.adapter) == {}
    for parameter in state.adapter.trainable.values():
        parameter.grad = torch.full_like(parameter, 0.5)
    state.optimizer.step()
    tensors = optimizer_tensors(state.optimizer, state.adapter)
    assert set(tensors) == {
        f"{name}|{moment}" for name in state.adapter.trainable for moment in ("step", "exp_avg", "exp_avg_sq")
    }
    for name, parameter in state.adapter.trainable.items():
        assert tensors[f"{name}|step"] == 1
        torch.testing.assert_close(tensors[f"{name}|exp_avg"], torch.full_like(parameter, 0.05))
        torch.testing.assert_close(tensors[f"{name}|exp_avg_sq"], torch.full_like(parameter, 0.00025))


def test_gradient_norms_are_those_of_all_gradients_of_a_group_together():
    """3, 4 and 12 make 13; a parameter without a gradient adds nothing, and none at all is 0."""
    parameters = {str(n): torch.nn.Parameter(torch.zeros(2)) for n in range(3)}
    assert gradient_norms(parameters, {}).tolist() == [0.0, 0.0]
    parameters["0"].grad = torch.tensor([3.0, 4.0])
    parameters["1"].grad = torch.tensor([0.0, 12.0])
    other = {"other": torch.nn.Parameter(torch.zeros(1))}
    other["other"].grad = torch.tensor([-2.0])
    assert gradient_norms({}, parameters, other).tolist() == pytest.approx([0.0, 13.0, 2.0])
