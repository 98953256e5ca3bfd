"""Coefficients in any transformer whose attention layers take their function from transformers' registry."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from coeffdream.adapters.coefficients import SubspaceCoefficients
from coeffdream.config import Parametrisation
from coeffdream.errors import AdapterError, ConfigError
from coeffdream.hosts.layers import HostLayer, chosen_layers, host_layers, inner_model
from coeffdream.hosts.mixing import ATTRIBUTE, NAMES, register

OWN_CONFIG = "config_without_coefficients"


def add_coefficients(
    model: nn.Module,
    *,
    layers: str = "all",
    dropout: float = 0.0,
    parametrisation: Parametrisation = "residual",
    seed: int = 0,
) -> dict[str, SubspaceCoefficients]:
    """Give attention layers coefficients that mix their heads (arXiv 2503.18337, Eq. 9-12).

    The model computes what it computed before until an alpha is trained. Nothing is frozen: call
    `model.requires_grad_(False)` first to train alpha alone, or let PEFT wrap the model first, which freezes
    it. A module that the model uses many times (ALBERT) has one alpha for all its uses.

    Args:
        model: of transformers, or one that holds such models, or a PEFT model around either.
        layers: "all", "self", "cross", or a regular expression that the path of a layer must hold.
        dropout: of alpha while training, a new mask every forward, from torch's own generator.
        parametrisation: "residual" as the paper has it, or one of its ablations, which `seed` starts.

    Returns:
        The coefficients by the path of their layer. `alpha` [H,H] is a parameter of the model.

    Raises:
        AttentionError: no layer whose heads can be mixed, or one that computes something else.
        ConfigError: layers names none, or dropout is not within [0, 1).
        AdapterError: the model has coefficients already.
    """
    if not 0 <= dropout < 1:
        raise ConfigError(f"dropout={dropout} must be at least 0 and below 1")
    chosen = chosen_layers(host_layers(model), layers)
    return attach_coefficients(model, chosen, dropout=dropout, parametrisation=parametrisation, seed=seed)


def coefficients_of(model: nn.Module) -> dict[str, SubspaceCoefficients]:
    """The coefficients that a model has, by the path of their layer; empty when it has none."""
    return {
        path: getattr(module, ATTRIBUTE)
        for path, module in inner_model(model).named_modules()
        if hasattr(module, ATTRIBUTE)
    }


def remove_coefficients(model: nn.Module) -> None:
    """Take them out again; every layer is as it was. Raises AdapterError when the model has none."""
    modules = [module for module in inner_model(model).modules() if hasattr(module, ATTRIBUTE)]
    if not modules:
        raise AdapterError("the model has no coefficients to remove")
    for module in modules:
        module.config = getattr(module, OWN_CONFIG)
        delattr(module, OWN_CONFIG)
        delattr(module, ATTRIBUTE)


def attach_coefficients(
    model: nn.Module,
    chosen: list[HostLayer],
    *,
    dropout: float,
    parametrisation: Parametrisation,
    seed: int = 0,
) -> dict[str, SubspaceCoefficients]:
    """Give these layers of the model coefficients. Raises AdapterError when the model has some already."""
    _check_free(model)
    register()
    configs: dict[int, Any] = {}
    made: dict[str, SubspaceCoefficients] = {}
    for number, layer in enumerate(chosen):
        coefficients = SubspaceCoefficients(layer.heads, dropout=dropout, parametrisation=parametrisation)
        coefficients.initialise(seed, number)
        _attach(layer, coefficients, configs)
        made[layer.path] = coefficients
    return made


def _attach(layer: HostLayer, coefficients: SubspaceCoefficients, configs: dict[int, Any]) -> None:
    """The layer gets a config of its own that names our function. The model's stays as it is, and so do its masks."""
    module, config = layer.module, layer.module.config
    if id(config) not in configs:
        own: Any = copy.deepcopy(config)
        own._attn_implementation = NAMES[own._attn_implementation]
        configs[id(config)] = own
    weight = next(module.parameters())
    dtype = torch.promote_types(torch.float32, weight.dtype)  # float32 beside half precision
    setattr(module, OWN_CONFIG, config)
    module.config = configs[id(config)]
    setattr(module, ATTRIBUTE, coefficients.to(weight.device, dtype).train(module.training))


def _check_free(model: nn.Module) -> None:
    if coefficients_of(model):
        raise AdapterError("the model already has coefficients; call remove_coefficients(model) first")
