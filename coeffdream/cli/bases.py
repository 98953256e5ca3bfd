"""What a person is told of a base before it is loaded, and the options that say how it is read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coeffdream.cli.terminal import say, warn
from coeffdream.config import Precision, Prediction

if TYPE_CHECKING:
    from coeffdream.backbones.base import Base
    from coeffdream.backbones.source import Source

BaseConfigOption = Annotated[str | None, typer.Option(help="Folder with the configs of a single-file base.")]
RevisionOption = Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub base.")]
PredictionOption = Annotated[
    Prediction | None, typer.Option(help="What the base's UNet predicts, if its files do not say it rightly.")
]

LARGE = 1 << 30  # bytes of weights; of SDXL it is several times that, of a miniature a hundredth


def prepare(base: Base, precision: Precision, device: str) -> None:
    """Say what a base is, and fetch what of it is not here, with the hub's own bars; the embedded one needs neither.

    Raises BaseModelError, ConfigError.
    """
    from coeffdream.backbones.device import pick_device, pick_dtype
    from coeffdream.backbones.source import bring

    if not base.is_toybox:
        say_what_it_is(bring(base, pick_dtype(precision, pick_device(device)), say))


def warn_of_hours(base: Base, device: str) -> None:
    """Where SDXL would train or draw on a CPU. Raises ConfigError."""
    from coeffdream.backbones.device import pick_device

    large = base.kind == "hub" or (not base.is_toybox and _weight_bytes(Path(base.source)) > LARGE)
    if large and pick_device(device).type == "cpu":
        warn(
            "SDXL on a CPU takes hours for a run; to see what coeffdream does, --base toybox is made for a CPU"
        )


def say_what_it_is(source: Source) -> None:
    say(f"base {source.base.name}: {source.said}")


def _weight_bytes(place: Path) -> int:
    files = place.rglob("*.safetensors") if place.is_dir() else [place]
    return sum(file.stat().st_size for file in files)
