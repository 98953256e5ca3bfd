"""The one more file of every run with a LoRA: what it learned, as other tools load it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from coeffdream.interop.metadata import About
from coeffdream.interop.names import portable_name
from coeffdream.interop.write import changes_of, write_kohya
from coeffdream.records.run import RunFolder, RunRecord


def about_run(run: RunFolder, record: RunRecord, scheduler: Mapping[str, Any]) -> About:
    """What a run's file says of itself. `scheduler`: the config of the base's."""
    return About(
        name=record.name,
        method=record.method,
        # A file that goes to others need not tell them where its base lies here.
        base=Path(record.base.name).name if record.base.kind in ("folder", "file") else record.base.name,
        class_noun=record.class_noun,
        token=record.token,
        resolution=record.config.resolution,
        mixed_layers=record.parameters.alpha_layers,
        prediction=scheduler.get("prediction_type", "epsilon"),
        zero_snr=bool(scheduler.get("rescale_betas_zero_snr", False)),
        thumbnail=max(run.samples.glob("*.png"), default=None),
    )


def write_beside(
    run: RunFolder, record: RunRecord, tensors: Mapping[str, Tensor], unet: Any, scheduler: Mapping[str, Any]
) -> Path | None:
    """Write adapter/NAME.safetensors. None, and nothing written, for an adapter that has no LoRA in it.

    `tensors`: the low-rank part as PEFT names it; `unet`: where it is installed.
    """
    changes = changes_of(tensors)
    if not changes:
        return None
    file = run.adapter / portable_name(record.name)
    write_kohya(file, changes, unet, about_run(run, record, scheduler))
    return file
