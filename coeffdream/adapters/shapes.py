"""An adapter in a UNet without weights, for a forecast: all of it that can be made of shapes alone."""

from __future__ import annotations

import dataclasses
from typing import Any

from coeffdream.adapters.install import Adapter, install, spec_for
from coeffdream.adapters.lora import compute_in_base_dtype
from coeffdream.config import TrainConfig
from coeffdream.errors import AdapterError


def install_in_shapes(unet: Any, config: TrainConfig) -> tuple[Adapter, str | None]:
    """The adapter, and in words what it is without: a method that PEFT builds from the weights that are not there.

    Raises ConfigError, AttentionError, AdapterError for a method that does not go in with weights either.
    """
    spec, left_out = spec_for(config, unet), None
    try:
        adapter = install(unet, spec)
    except AdapterError as error:
        if spec.other is None or not isinstance(error.__cause__, RuntimeError):
            raise
        adapter = install(unet, dataclasses.replace(spec, other=None))
        left_out = (
            f"PEFT builds {spec.other.name} from the base's weights: neither its parameters nor the memory that they take "
            "are forecast here"
        )
    compute_in_base_dtype(adapter)
    return adapter, left_out
