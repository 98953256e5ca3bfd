"""What records written by earlier checkouts call by another name."""

from __future__ import annotations

from typing import Any

OFFLOAD = {True: "model", False: "none", None: "auto"}


def as_called_now(run: Any) -> Any:
    """What run.json holds, by today's names; what is no record is left to whoever checks it."""
    config = run.get("config") if isinstance(run, dict) else None
    if not isinstance(config, dict) or not isinstance(config.get("model_offload", ...), (bool, type(None))):
        return run
    renamed = {name: value for name, value in config.items() if name != "model_offload"}
    return {**run, "config": renamed | {"offload": OFFLOAD[config["model_offload"]]}}
