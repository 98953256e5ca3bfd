"""What PEFT has to say of a method, before an hour is spent on anything else."""

from __future__ import annotations

from collections.abc import Iterable

from coeffdream.cli.terminal import loading
from coeffdream.config import TrainConfig
from coeffdream.methods import OURS, takes_loras_place


def check_methods(configs: Iterable[TrainConfig]) -> None:
    """Raises ConfigError for a method that PEFT has not, or options that it refuses; the paper's cost nothing."""
    others = [
        config for config in configs if takes_loras_place(config.method) and config.plain_method not in OURS
    ]
    if not others:
        return
    with loading("torch", "peft"):
        from coeffdream.adapters.other import check_method
    for config in others:
        check_method(config)
