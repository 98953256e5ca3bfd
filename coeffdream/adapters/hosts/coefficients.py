"""Coefficients in any host (layers.py)."""

from __future__ import annotations

import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from coeffdream.adapters.coefficients import SubspaceCoefficients
from coeffdream.adapters.layers import (
    AttentionLayer,
    attention_layers,
    check_groups,
    check_served,
    host_of,
    inner_model,
    matching,
)
from coeffdream.config import Parametrisation
from coeffdream.errors import AdapterError, ConfigError, quoted

KINDS = ("all", "self", "cross")
# What a layer had before, kept where nn.Module does not look for modules.
OWN = "before_coefficients"


def add_coefficients(
    model: nn.Module,
    *,
    layers: str = "all",
    dropout: float = 0.0,
    parametrisation: Parametrisation = "residual",
    groups: int = 1,
    seed: int = 0,
) -> dict[str, SubspaceCoefficients]:
    """Give attention layers coefficients that mix their heads (arXiv 2503.18337, Eq. 9-12).

    The model computes what it computed before until an alpha is trained. Nothing is frozen: call
    `model.requires_grad_(False)` first to train alpha alone, or let PEFT wrap the model first, which freezes
    it. A module that the model uses many times (ALBERT) has one alpha for all its uses.

    Args:
        model: of transformers, a UNet of diffusers, a vision transformer of timm, or one that holds such models; with
            or without PEFT around it.
        layers: "all", "self", "cross", or a regular expression that the path of a layer must hold.
        dropout: of alpha while training, a new mask every forward, from torch's own generator.
        parametrisation: "residual" as the paper has it, or one of its ablations, which `seed` starts.
        groups: G of them, each of H/G heads in a row that are mixed among themselves: H²/G coefficients a layer
            in place of H². The maps are mixed with the whole matrix all the same, so no time is saved.

    Returns:
        The coefficients by the path of their layer. `alpha`, [H,H] or with groups [G,H/G,H/G], is a parameter of
        the model.

    Raises:
        AttentionError: no layer whose heads can be mixed, or one that computes something else.
        ConfigError: layers names none, dropout is not within [0, 1), or groups do not divide a layer's heads.
        AdapterError: the model has coefficients already.
    """
    if not 0 <= dropout < 1:
        raise ConfigError(f"dropout={dropout} must be at least 0 and below 1")
    _check_free(model)
    chosen = _chosen(attention_layers(model), layers)
    check_groups(chosen, groups, f"groups={groups}", "layers=")
    return attach_coefficients(
        model, chosen, dropout=dropout, parametrisation=parametrisation, groups=groups, seed=seed
    )


def coefficients_of(model: nn.Module) -> dict[str, SubspaceCoefficients]:
    """The coefficients that a model has, by the path of their layer; empty when it has none."""
    found = ((path, _of_layer(module)) for path, module in inner_model(model).named_modules())
    return {path: coefficients for path, coefficients in found if coefficients is not None}


def remove_coefficients(model: nn.Module) -> None:
    """Take them out again; every layer is as it was. Raises AdapterError when the model has none of add_coefficients'."""
    modules = [module for module in inner_model(model).modules() if OWN in vars(module)]
    if not modules:
        raise AdapterError(
            "the model has no coefficients to remove; what coeffdream.load put in, coeffdream.unload takes out"
        )
    for module in modules:
        before = vars(module).pop(OWN)
        host_of(module).detach(module, before)


def attach_coefficients(
    model: nn.Module,
    chosen: list[AttentionLayer],
    *,
    dropout: float,
    parametrisation: Parametrisation,
    groups: int = 1,
    seed: int = 0,
) -> dict[str, SubspaceCoefficients]:
    """Give these layers of the model coefficients. Raises AdapterError when the model has some already."""
    _check_free(model)
    made: dict[str, SubspaceCoefficients] = {}
    for number, layer in enumerate(chosen):
        coefficients = SubspaceCoefficients(
            layer.heads, dropout=dropout, parametrisation=parametrisation, groups=groups
        )
        coefficients.initialise(seed, number)
        _attach(layer.module, coefficients)
        made[layer.path] = coefficients
    return made


def _chosen(layers: list[AttentionLayer], wanted: str) -> list[AttentionLayer]:
    """Those that `wanted` names: "all", "self", "cross", or a regular expression that a path must hold."""
    kind, pattern = (wanted, None) if wanted in KINDS else ("all", wanted)
    try:
        chosen = matching(layers, kind, pattern)
    except ValueError as error:
        raise ConfigError(f"layers={quoted(wanted)} is no regular expression: {error}") from None
    if not chosen:
        raise ConfigError(
            f"layers={quoted(wanted)} matches none of the {len(layers)} attention layers, which are called like "
            f"{layers[0].path}; give one of {', '.join(KINDS)}, or a regular expression"
        )
    check_served(chosen, "layers=")
    return chosen


def _attach(module: Any, coefficients: SubspaceCoefficients) -> None:
    """Put them where the layer computes its attention, on its device and in its mode."""
    weight = next(module.parameters())
    dtype = torch.promote_types(torch.float32, weight.dtype)  # float32 beside half precision
    coefficients.to(weight.device, dtype).register_forward_pre_hook(_before_use)
    vars(module)[OWN] = host_of(module).attach(module, coefficients.train(module.training))


def _of_layer(module: nn.Module) -> SubspaceCoefficients | None:
    host = host_of(module)
    return host and host.coefficients_in(module)


def _before_use(coefficients: SubspaceCoefficients, _: Any) -> None:
    """A new dropout mask (Eq. 12) for every forward in training.

    Drawn from torch's own generator, as nn.Dropout's are: checkpointing and resuming restore that.
    """
    if not coefficients.training:
        return
    if torch.is_grad_enabled() and not coefficients.alpha.requires_grad:
        _warn_when_idle(coefficients)
    if coefficients.dropout:
        coefficients.keep = F.dropout(torch.ones_like(coefficients.alpha), coefficients.dropout)


def _warn_when_idle(coefficients: SubspaceCoefficients) -> None:
    """PEFT freezes whatever is no part of its own when it wraps a model."""
    if coefficients.residual and not coefficients.alpha.any():
        warnings.warn(
            "coefficients of this model are zero and frozen, so that they do nothing; let PEFT wrap the model before "
            "add_coefficients, or call requires_grad_(True) on each of coefficients_of(model).values()",
            stacklevel=2,
        )


def _check_free(model: nn.Module) -> None:
    if coefficients_of(model):
        raise AdapterError("the model already has coefficients; call remove_coefficients(model) first")
