"""The arms of `study vit` and `study ablation`: what of a vision transformer is trained beside its new head, and at which
rate."""

from __future__ import annotations

import itertools
import re
from typing import Any

from torch import nn

from coeffdream.adapters.hosts.coefficients import add_coefficients
from coeffdream.adapters.layers import attention_layers
from coeffdream.studies.fit import Group
from coeffdream.studies.injected import INJECTED, inject
from coeffdream.studies.vit_options import VitOptions


def install(model: Any, arm: str, options: VitOptions, seed: int) -> dict[str, Group]:
    """Make of `model` what `arm` trains, from the same head as every other arm.

    Returns the groups "head", "alpha" and "own", those that there are; everything else is frozen. Raises
    AttentionError for a model without attention that can be mixed.
    """
    method = options.method(arm)
    body = {name: each for name, each in model.named_parameters() if not name.startswith("classifier.")}
    trained: dict[str, list[nn.Parameter]] = {"head": list(model.classifier.parameters())}
    if method == "bitfit":
        trained["own"] = [each for name, each in body.items() if name.endswith(".bias")]
    elif method == "full":
        trained["own"] = list(body.values())
    elif method in INJECTED:
        trained["own"] = inject(model, method, options.rank, seed)
    asked = options.alpha(arm)
    if asked is not None:
        if "layers" in asked:
            asked = {**asked, "layers": _half(model, asked["layers"])}
        trained["alpha"] = [each.alpha for each in add_coefficients(model, **asked, seed=seed).values()]
    model.requires_grad_(False)
    for each in itertools.chain.from_iterable(trained.values()):
        each.requires_grad_(True)
    rates = options.rates(arm)
    return {kind: Group(parameters, rates[kind]) for kind, parameters in trained.items()}


def _half(model: Any, which: str) -> str:
    """A pattern of the paths of the first or the second half of the attention layers."""
    paths = [layer.path for layer in attention_layers(model)]
    middle = len(paths) // 2
    chosen = paths[:middle] if which == "first-half" else paths[middle:]
    return "|".join(f"^{re.escape(path)}$" for path in chosen)
