"""Checkpoints from which training goes on exactly as if it had never stopped.

All randomness is a function of the step, so a checkpoint is the weights, Adam's moments, the loss
scale and the step number. A folder takes its final name only when it is complete.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from coeffdream.adapters.files import PREFIX, fill, save_adapter
from coeffdream.adapters.install import Adapter
from coeffdream.config import TrainConfig
from coeffdream.errors import RunError
from coeffdream.records.files import read_json, write_json
from coeffdream.records.run import COEFF_FILE, LORA_FILE
from coeffdream.training.optimizer import optimizer_tensors, restore_optimizer

STATE_FILE = "state.json"
OPTIMIZER_FILE = "optimizer.safetensors"
OLDER_OPTIMIZER_FILE = "optimiser.safetensors"  # its name in checkpoints of version 0.1
KEPT = 2


@dataclass
class TrainingState:
    """What changes while training, beside the adapter's parameters. `step`: optimizer steps done."""

    adapter: Adapter
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    step: int = 0


def checkpoint_due(step: int, config: TrainConfig) -> bool:
    """Whether a checkpoint is written once `step` steps are done; always after the last."""
    every = config.checkpoint_every
    return step == config.steps or (every > 0 and step % every == 0)


def save_checkpoint(checkpoints: Path, state: TrainingState, architecture: str) -> Path:
    """Write `checkpoints/STEP/` and drop all but the newest two."""
    from safetensors.torch import save_file

    final = checkpoints / f"{state.step:06d}"
    temporary = checkpoints / ".unfinished"  # one that a kill left behind is replaced here
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_adapter(state.adapter, temporary, architecture)
    save_file(optimizer_tensors(state.optimizer, state.adapter), temporary / OPTIMIZER_FILE)
    scaler: dict[str, Any] = state.scaler.state_dict()
    write_json(temporary / STATE_FILE, {"step": state.step, "scaler": scaler})
    shutil.rmtree(final, ignore_errors=True)
    temporary.rename(final)
    for old in list_checkpoints(checkpoints)[:-KEPT]:
        shutil.rmtree(old)
    return final


def list_checkpoints(checkpoints: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(path.parent for path in checkpoints.glob(f"[0-9]*/{STATE_FILE}"))


def restore_checkpoint(checkpoint: Path, state: TrainingState) -> None:
    """Fill a freshly installed adapter and its optimizer. Raises RunError, AdapterError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    saved = read_json(checkpoint / STATE_FILE)
    try:
        tensors: dict[str, Any] = {}
        for file in (LORA_FILE, COEFF_FILE):
            if (checkpoint / file).is_file():
                tensors |= {
                    name.removeprefix(PREFIX): value for name, value in load_file(checkpoint / file).items()
                }
        older = checkpoint / OLDER_OPTIMIZER_FILE
        moments = load_file(older if older.is_file() else checkpoint / OPTIMIZER_FILE)
        fill(state.adapter, tensors, checkpoint)
        restore_optimizer(state.optimizer, state.adapter, moments)
        if saved["scaler"]:
            state.scaler.load_state_dict(saved["scaler"])
        state.step = int(saved["step"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"the checkpoint {checkpoint} is damaged ({error!r}); remove it to resume from an older one"
        ) from None
