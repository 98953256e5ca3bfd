"""The arms of `study vit`: what of a vision transformer is trained beside its new head, and at which rate."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import nn

from coeffdream.errors import AttentionError
from coeffdream.hosts.coefficients import add_coefficients
from coeffdream.studies.vit_options import VitOptions, method_of
from coeffdream.studies.vit_training import Group

# The low-rank part sits where LoRA's authors put it: on queries and values. transformers has two names for each.
QUERY_AND_VALUE = ("q_proj", "v_proj", "query", "value")
OFT_BLOCK = 8
INJECTED = ("lora", "dora", "oft")  # by PEFT


def install(model: Any, arm: str, options: VitOptions, seed: int) -> dict[str, Group]:
    """Make of `model` what `arm` trains, from the same head as every other arm.

    Returns the groups "head", "alpha" and "own", those that there are; everything else is frozen. Raises
    AttentionError for a model without attention that can be mixed.
    """
    method = method_of(arm)
    body = {name: each for name, each in model.named_parameters() if not name.startswith("classifier.")}
    trained: dict[str, list[nn.Parameter]] = {"head": list(model.classifier.parameters())}
    if method == "bitfit":
        trained["own"] = [each for name, each in body.items() if name.endswith(".bias")]
    elif method == "full":
        trained["own"] = list(body.values())
    elif method in INJECTED:
        trained["own"] = _inject(model, method, options.rank, seed)
    if arm.startswith("coeff"):
        coefficients = add_coefficients(model, dropout=options.coeff_dropout if method else 0.0)
        trained["alpha"] = [each.alpha for each in coefficients.values()]
    model.requires_grad_(False)
    for each in itertools.chain.from_iterable(trained.values()):
        each.requires_grad_(True)
    rates = options.rates(arm)
    return {kind: Group(parameters, rates[kind]) for kind, parameters in trained.items()}


def _inject(model: Any, method: str, rank: int, seed: int) -> list[nn.Parameter]:
    """PEFT's parameters on every projection to queries and values."""
    from peft import LoraConfig, OFTConfig, inject_adapter_in_model

    targets = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in QUERY_AND_VALUE
    ]
    if not targets:
        raise AttentionError(
            f"a {type(model).__name__} has no projections called {', '.join(QUERY_AND_VALUE)}, which {method} is to change; "
            "leave that arm out of --arms"
        )
    before = {id(each) for each in model.parameters()}
    config: Any = (
        OFTConfig(target_modules=targets, oft_block_size=OFT_BLOCK)
        if method == "oft"
        else LoraConfig(target_modules=targets, r=rank, lora_alpha=rank, use_dora=method == "dora")
    )
    with torch.random.fork_rng(devices=[]):  # PEFT draws its first values from torch's own generator
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model)
    return [each for each in model.parameters() if id(each) not in before]
