"""Checkpoints from which training goes on exactly as if it had never stopped.

All randomness is a function of the step, so a checkpoint is the weights and their average, Adam's moments, the loss
scale and the step number. What they are as files: records/checkpoints.py.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from coeffdream.adapters.files import restore_adapter, save_adapter
from coeffdream.adapters.install import Adapter
from coeffdream.adapters.values import faults
from coeffdream.config import TrainConfig
from coeffdream.errors import AdapterError, DivergedError, RunError
from coeffdream.progress import unheard
from coeffdream.records.checkpoints import (
    FORMAT,
    STATE_FILE,
    UNFINISHED,
    check_state,
    checkpoint_folder,
    identity_of,
)
from coeffdream.records.claim import confirm
from coeffdream.records.files import read_json, sha256_of_json, sync, write_json
from coeffdream.records.tensors import open_tensors, write_tensors
from coeffdream.training.average import LIVE_FILE, averaged, live_tensors, restore_live
from coeffdream.training.optimizer import moment_fault, optimizer_tensors, restore_optimizer

OPTIMIZER_FILE = "optimizer.safetensors"
OLDER_OPTIMIZER_FILE = "optimiser.safetensors"  # its name in checkpoints of version 0.1


@dataclass
class TrainingState:
    """What changes while training, beside the adapter's parameters. `step`: optimizer steps done; `average`: an
    EMAModel of the parameters, or None."""

    adapter: Adapter
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    step: int = 0
    average: Any = None


def checkpoint_due(step: int, config: TrainConfig) -> bool:
    """Whether a checkpoint is written once `step` steps are done; always after the last."""
    every = config.checkpoint_every
    return step == config.steps or (every > 0 and step % every == 0)


def save_checkpoint(checkpoints: Path, state: TrainingState, architecture: str) -> Path:
    """Write `checkpoints/STEP/`.

    Raises DivergedError, with those that are there left as they are, when the state is not worth keeping.
    """
    moments = optimizer_tensors(state.optimizer, state.adapter)
    found = faults(state.adapter)
    found += [fault for key, value in moments.items() if (fault := moment_fault(key, value))]
    if found:
        raise DivergedError(
            f"after step {state.step} {found[0]}{f', and {len(found) - 1} more' if len(found) > 1 else ''}; "
            "no checkpoint was made of it, and the one before stays. Train again with a smaller --lr"
        )
    final = checkpoint_folder(checkpoints, state.step)
    temporary = checkpoints / UNFINISHED
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        with averaged(state.adapter, state.average):
            save_adapter(state.adapter, temporary, architecture)
        _write(temporary / OPTIMIZER_FILE, moments)
        if state.average is not None:
            _write(temporary / LIVE_FILE, live_tensors(state.adapter))
        said = {
            "format": FORMAT,
            "step": state.step,
            "scaler": state.scaler.state_dict(),
            "files": {file.name: identity_of(file) for file in sorted(temporary.iterdir())},
        }
        write_json(temporary / STATE_FILE, {**said, "digest": sha256_of_json(said)})
        confirm(checkpoints.parent)
        if not _equal(final, temporary):
            shutil.rmtree(final, ignore_errors=True)
            temporary.rename(final)
            sync(checkpoints)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return final


def restore_checkpoint(
    checkpoint: Path,
    state: TrainingState,
    architecture: str,
    warn: Callable[[str], None] = unheard,
) -> None:
    """Fill a freshly installed adapter and its optimizer. Raises RunError when anything in the checkpoint
    is not as it was written. `warn` hears what one of an older format lacks."""
    saved = read_json(checkpoint / STATE_FILE)
    try:
        if check_state(checkpoint, saved) < FORMAT:
            warn(
                f"{checkpoint} was written before checkpoints held hashes: whether it is as it was written "
                "cannot be checked"
            )
        # Adam's own count falls behind where loss scaling left steps out.
        counted = range(0 if state.scaler.is_enabled() else saved["step"], saved["step"] + 1)
        restore_adapter(state.adapter, checkpoint, architecture, unheard)
        older = checkpoint / OLDER_OPTIMIZER_FILE
        moments = open_tensors(older if older.is_file() else checkpoint / OPTIMIZER_FILE)
        moments.check_digest()
        restore_optimizer(state.optimizer, state.adapter, moments, counted)
        if state.average is not None:
            live = open_tensors(checkpoint / LIVE_FILE)
            live.check_digest()
            restore_live(state.adapter, state.average, saved["step"], live)
        _restore_scaler(state.scaler, saved["scaler"])
        state.step = saved["step"]
    except (AdapterError, OSError, KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"the checkpoint {checkpoint} is damaged ({error}); remove it to resume from an older one"
        ) from None


def _write(file: Path, tensors: dict[str, torch.Tensor]) -> None:
    write_tensors(file, {key: value.numpy() for key, value in tensors.items()})


def _equal(final: Path, temporary: Path) -> bool:
    """Whether this very checkpoint is there already, whole: then it is never out of the way for a moment."""
    try:
        saved = read_json(final / STATE_FILE)
        return saved == read_json(temporary / STATE_FILE) and check_state(final, saved) == FORMAT
    except (RunError, OSError, ValueError):
        return False


def _restore_scaler(scaler: torch.amp.GradScaler, saved: dict[str, Any]) -> None:
    wanted = scaler.state_dict()
    numbers = [value for value in saved.values() if type(value) in (int, float) and math.isfinite(value)]
    if saved.keys() != wanted.keys() or len(numbers) < len(saved) or any(value < 0 for value in numbers):
        raise ValueError(f"the loss scale is {saved!r:.80}")
    if saved:
        scaler.load_state_dict(saved)
