"""Trainable parameters of each method, from shapes alone."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from torch import nn

from coeffdream.adapters.install import Adapter, AdapterSpec, spec_for
from coeffdream.adapters.layers import PROJECTIONS, attention_layers
from coeffdream.adapters.peft_part import shapes_of
from coeffdream.config import TrainConfig
from coeffdream.errors import ConfigError
from coeffdream.methods import OURS
from coeffdream.records.run import Parameters


@dataclass(frozen=True)
class Counts:
    """Trained parameters of one method on one UNet; `groups` by part of the UNet and kind of attention.

    low_rank: what is trained beside alpha, whatever the method; `shared`: what of that belongs to no layer alone.
    """

    method: str
    low_rank: int
    alpha: int
    unet: int
    groups: dict[str, dict[str, int]]
    shared: int = 0

    @property
    def trained(self) -> int:
        return self.low_rank + self.alpha

    @property
    def percent(self) -> float:
        """Share of the UNet's own parameters, as the paper's Table 3 gives it."""
        return 100 * self.trained / self.unet


def count_parameters(unet: nn.Module, config: TrainConfig, method: str) -> Counts:
    """Count what `method` would install on a UNet (meta device is enough), without doing so.

    Raises ConfigError for a method that PEFT cannot build without the base's weights, AdapterError for one that it
    cannot put in here.
    """
    layers = attention_layers(unet)
    groups = {f"{layer.group} {layer.kind}": {"layers": 0, "low_rank": 0, "alpha": 0} for layer in layers}
    spec = spec_for(dataclasses.replace(config, method=method), unet)
    own, shared = _of_modules(unet, spec)
    for layer in layers:
        group = groups[f"{layer.group} {layer.kind}"]
        group["layers"] += 1
        group["alpha"] += layer.heads**2 // spec.groups if layer.path in spec.alpha else 0
        group["low_rank"] += sum(own.get(f"{layer.path}.{path}", 0) for path in PROJECTIONS.values())
    low_rank, alpha = (sum(group[kind] for group in groups.values()) for kind in ("low_rank", "alpha"))
    unet_parameters = sum(parameter.numel() for parameter in unet.parameters())
    return Counts(method, low_rank + shared, alpha, unet_parameters, groups, shared)


def _of_modules(unet: nn.Module, spec: AdapterSpec) -> tuple[dict[str, int], int]:
    """Trained parameters of each projection, by its path, and those that projections share."""
    layers: dict[str, Any] = {path: unet.get_submodule(path) for path in spec.modules}
    if spec.other is None:
        # A is [rank, columns], B [rows, rank], DoRA's magnitude [rows].
        sizes = {path: layer.weight.shape for path, layer in layers.items()}
        return {
            path: spec.rank * (rows + columns) + (rows if spec.dora else 0)
            for path, (rows, columns) in sizes.items()
        }, 0
    if spec.other.name in OURS:
        parts = OURS[spec.other.name]
        return {
            path: sum(getattr(layer, part).numel() for part in parts if getattr(layer, part) is not None)
            for path, layer in layers.items()
        }, 0
    shapes = shapes_of(unet, spec.other)
    if shapes is None:
        raise ConfigError(
            f"PEFT builds {spec.other.name} from the base's weights, so it cannot be counted from shapes; train says how "
            "many parameters it has"
        )
    own, shared = dict.fromkeys(layers, 0), 0
    for name, shape in shapes["parameters"].items():
        owner = next((path for path in own if name.startswith(f"{path}.")), None)
        if owner:
            own[owner] += math.prod(shape)
        else:
            shared += math.prod(shape)
    return own, shared


def parameter_summary(adapter: Adapter, total: int) -> Parameters:
    """What run.json says of an installed adapter. total: the parameters of the UNet alone."""
    lora = sum(parameter.numel() for parameter in adapter.weights.values())
    alpha = sum(parameter.numel() for parameter in adapter.alpha.values())
    return Parameters(
        unet=total,
        lora=lora,
        alpha=alpha,
        trained=lora + alpha,
        percent=100 * (lora + alpha) / total,
        lora_modules=len(adapter.spec.modules),
        alpha_layers=len(adapter.spec.alpha),
    )
