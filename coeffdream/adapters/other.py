"""A method beside LoRA and DoRA: what a spec says of it, and what can be done with it once it is in.

`full` and `bitfit` are our own (own_part.py), all others PEFT's (peft_part.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from coeffdream.adapters.layers import AttentionLayer, lora_modules
from coeffdream.config import TrainConfig
from coeffdream.errors import ConfigError, listed
from coeffdream.methods import OURS, takes_loras_place

EVERYWHERE = "all.q,all.k,all.v,all.out"


@dataclass(frozen=True)
class Other:
    """modules: full paths inside the UNet; config: PEFT's, None for our own."""

    name: str
    modules: tuple[str, ...]
    config: Any = None


class Part(Protocol):
    """An installed method. `parameters` by name, float32 all of them."""

    parameters: dict[str, nn.Parameter]

    def tensors(self) -> dict[str, Tensor]:
        """What makes up its file."""

    def fill(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over `tensors`, which have the names and shapes of those of `tensors()`."""

    def draw(self, seed: int, step: int) -> None:
        """Let whatever it draws in this step follow from seed and step."""

    def set_scale(self, scale: float) -> None:
        """Weaken or exaggerate what was learned. Raises ConfigError for a method that has no such thing."""

    def fault(self) -> str | None:
        """Why it is not in force any more, or None."""

    def take_out(self) -> None:
        """Leave the UNet's modules and weights as they were."""


def other_for(config: TrainConfig, layers: list[AttentionLayer]) -> Other | None:
    """The method that a training config asks for on these layers; None for those of the paper. Raises ConfigError."""
    name = config.plain_method
    if not takes_loras_place(config.method):
        return None
    if name in OURS:
        return Other(name, tuple(own_modules(name, layers)))
    modules = lora_modules(layers, config.lora_targets)
    return Other(name, tuple(modules), _peft_config(config, modules))


def check_method(config: TrainConfig) -> None:
    """Everything that can be said of a method before a base is loaded. Raises ConfigError."""
    if takes_loras_place(config.method) and config.plain_method not in OURS:
        _peft_config(config, ["to_q"])


def _peft_config(config: TrainConfig, modules: list[str]) -> Any:
    from coeffdream.adapters.peft_types import method_config, needs_calls

    made = method_config(config.plain_method, modules, config.method_option)
    if needs_calls(made):
        raise ConfigError(
            f"{config.plain_method} with these options chooses its ranks anew in every step, from what PEFT keeps in no "
            "file: such a run could not be resumed exactly"
        )
    return made


def own_modules(name: str, layers: list[AttentionLayer]) -> list[str]:
    """Full paths of the projections that one of our own methods changes. Raises ConfigError where there is none."""
    paths = {layer.path: layer.module for layer in layers}
    found = [
        path
        for path in lora_modules(layers, EVERYWHERE)
        if any(_has(paths, path, part) for part in OURS[name])
    ]
    if not found:
        raise ConfigError(
            f"{name} trains {listed(OURS[name])} of attention's projections, and this base has none"
        )
    return found


def _has(layers: Mapping[str, Any], path: str, part: str) -> bool:
    layer = next(each for each in layers if path.startswith(f"{each}."))
    return getattr(layers[layer].get_submodule(path.removeprefix(f"{layer}.")), part) is not None
