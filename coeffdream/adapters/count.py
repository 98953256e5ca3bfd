"""Trainable parameters of each method, from shapes alone."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from torch import nn

from coeffdream.adapters.install import Adapter, spec_for
from coeffdream.adapters.layers import PROJECTIONS, attention_layers
from coeffdream.config import TrainConfig
from coeffdream.records.run import Parameters


@dataclass(frozen=True)
class Counts:
    """Trained parameters of one method on one UNet; `groups` by part of the UNet and kind of attention."""

    method: str
    low_rank: int
    alpha: int
    unet: int
    groups: dict[str, dict[str, int]]

    @property
    def trained(self) -> int:
        return self.low_rank + self.alpha

    @property
    def percent(self) -> float:
        """Share of the UNet's own parameters, as the paper's Table 3 gives it."""
        return 100 * self.trained / self.unet


def count_parameters(unet: nn.Module, config: TrainConfig, method: str) -> Counts:
    """Count what `method` would install on a UNet (meta device is enough), without doing so."""
    layers = attention_layers(unet)
    groups = {f"{layer.group} {layer.kind}": {"layers": 0, "low_rank": 0, "alpha": 0} for layer in layers}
    # The caller has `method` from the Literal itself.
    spec = spec_for(dataclasses.replace(config, method=method), unet)  # type: ignore[arg-type]
    for layer in layers:
        group = groups[f"{layer.group} {layer.kind}"]
        group["layers"] += 1
        group["alpha"] += layer.heads**2 if layer.path in spec.alpha else 0
        for path in PROJECTIONS.values():
            if f"{layer.path}.{path}" in spec.lora:
                rows, columns = layer.module.get_submodule(path).weight.shape
                # A is [rank, columns], B [rows, rank], DoRA's magnitude [rows].
                group["low_rank"] += spec.rank * (rows + columns) + (rows if spec.dora else 0)
    low_rank, alpha = (sum(group[kind] for group in groups.values()) for kind in ("low_rank", "alpha"))
    unet_parameters = sum(parameter.numel() for parameter in unet.parameters())
    return Counts(method, low_rank, alpha, unet_parameters, groups)


def parameter_summary(adapter: Adapter, total: int) -> Parameters:
    """What run.json says of an installed adapter. total: the parameters of the UNet alone."""
    lora = sum(parameter.numel() for parameter in adapter.lora.values())
    alpha = sum(parameter.numel() for parameter in adapter.alpha.values())
    return Parameters(
        unet=total,
        lora=lora,
        alpha=alpha,
        trained=lora + alpha,
        percent=100 * (lora + alpha) / total,
        lora_modules=len(adapter.spec.lora),
        alpha_layers=len(adapter.spec.alpha),
    )
