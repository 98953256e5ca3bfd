"""Which base model a run starts from, and what that base recommends. No weights are touched here."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from coeffdream.checked import converted, ill_typed, unknown_keys
from coeffdream.config import Precision, Prediction, TrainConfig
from coeffdream.errors import BaseModelError, quoted, together
from coeffdream.records.base import BaseRecord
from coeffdream.records.environment import home_expanded
from coeffdream.records.fields import Positive
from coeffdream.records.files import parse_json
from coeffdream.records.reading import TEXT_LIMIT, decoded, read_bytes
from coeffdream.toybox.paths import WEIGHTS as TOYBOX

SDXL_ID = "stabilityai/stable-diffusion-xl-base-1.0"
SETTINGS_FILE = "coeffdream.json"
REVISION = re.compile(r"[\w.-][\w./-]{0,199}")

PositiveFloat = Annotated[float, Meta(gt=0, le=sys.float_info.max)]


# The fields of TrainConfig that a base sets the default of, and what its settings call them.
OF_TRAINING = {
    "resolution": "resolution",
    "lr": "learning_rate",
    "coeff_lr": "coeff_learning_rate",
    "steps": "train_steps",
    "batch_size": "batch_size",
    "rank": "rank",
    "precision": "precision",
    "gradient_checkpointing": "gradient_checkpointing",
}


@dataclass(frozen=True)
class BaseSettings:
    """What a base recommends; None leaves it to TrainConfig.

    The defaults are what SDXL asks for where it is not told otherwise: trained at 1024 (arXiv 2307.01952,
    section 2.3); 30 steps and guidance 5 are what diffusers' own pages draw it with.
    """

    resolution: Positive = 1024
    learning_rate: PositiveFloat | None = None
    coeff_learning_rate: PositiveFloat | None = None
    train_steps: Positive | None = None
    batch_size: Positive | None = None
    rank: Positive | None = None
    precision: Precision | None = None
    gradient_checkpointing: bool = True
    sampling_steps: Positive = 30
    sampling_batch_size: Positive = 1
    guidance_scale: PositiveFloat = 5.0

    @property
    def training(self) -> dict[str, Any]:
        """TrainConfig fields that the base sets the default of."""
        fields = {name: getattr(self, own) for name, own in OF_TRAINING.items()}
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True)
class Base:
    """A base model that was asked for. source: its path or hub id.

    revision: of a hub repository, None the main one. base_config: the folder that configures a single file, None
    for SDXL's own. prediction: what overrides what the base says of itself.
    """

    name: str
    kind: Literal["toybox", "hub", "folder", "file"]
    source: str
    settings: BaseSettings = BaseSettings()
    revision: str | None = None
    base_config: str | None = None
    prediction: Prediction = "auto"

    @property
    def is_toybox(self) -> bool:
        return self.kind == "toybox"

    @property
    def asked(self) -> dict[str, Any]:
        """The fields of TrainConfig that name it."""
        return {
            "base": self.name,
            "revision": self.revision,
            "base_config": self.base_config,
            "prediction": self.prediction,
        }

    @property
    def record(self) -> BaseRecord:
        """What is known of it before it is loaded."""
        return BaseRecord(
            self.name,
            self.kind,
            "embedded" if self.is_toybox else self.source,
            revision=self.revision,
            base_config=self.base_config,
            prediction=None if self.prediction == "auto" else self.prediction,
        )


def find_base(
    name: str,
    *,
    revision: str | None = None,
    base_config: str | None = None,
    prediction: Prediction = "auto",
) -> Base:
    """Resolve what --base names, and how it is to be read.

    Raises BaseModelError when it is nothing that could be a base model, or that cannot be read so.
    """
    base = replace(_named(name), prediction=prediction)
    if revision is not None:
        if base.kind != "hub":
            raise BaseModelError(
                f"--revision {quoted(revision)} goes with a base on the hub; leave it out for {name}"
            )
        if not REVISION.fullmatch(revision):
            raise BaseModelError(
                f"--revision {quoted(revision)} is no branch, tag or commit; give for example main"
            )
        base = replace(base, revision=revision)
    if base_config is not None:
        folder = home_expanded(base_config)
        if base.kind != "file":
            raise BaseModelError(
                f"--base-config goes with a single .safetensors file; leave it out for {name}"
            )
        if not (folder / "unet" / "config.json").is_file():
            raise BaseModelError(
                f"--base-config {base_config} has no unet/config.json; give a folder in diffusers' layout, "
                "weights or none in it"
            )
        base = replace(base, base_config=str(folder.resolve()), settings=read_settings(folder))
    return base


def base_asked(values: Mapping[str, Any]) -> Base:
    """The base that fields of TrainConfig name, as they came in. Raises BaseModelError."""
    given = {name: str(values[name]) for name in ("revision", "base_config") if values.get(name) is not None}
    name, prediction = values.get("base", TrainConfig.base), values.get("prediction", "auto")
    return find_base(str(name), prediction=prediction, **given)


def base_of(record: BaseRecord, **instead: Any) -> Base:
    """The base that a record speaks of, to be read as it was but for what is given `instead`. Raises BaseModelError."""
    said = {
        "base": record.name,
        "revision": record.revision,
        "base_config": record.base_config,
        "prediction": record.prediction or "auto",
    }
    return base_asked(said | {name: value for name, value in instead.items() if value is not None})


def _named(name: str) -> Base:
    if name == "sdxl":
        return Base(name, "hub", SDXL_ID)
    if name == "toybox":
        if not (TOYBOX / "model_index.json").is_file():
            raise BaseModelError(
                f"the embedded base is not in this installation ({TOYBOX}); install coeffdream again"
            )
        return Base(name, "toybox", str(TOYBOX), read_settings(TOYBOX))
    path = home_expanded(name)
    if path.is_dir():
        if not (path / "model_index.json").is_file():
            raise BaseModelError(
                f"--base {name} is a folder without model_index.json; give a folder in diffusers' layout "
                "(with unet/, vae/, text_encoder/, ...) or a single .safetensors checkpoint"
            )
        return Base(name, "folder", str(path.resolve()), read_settings(path))
    if path.is_file():
        if path.suffix != ".safetensors":
            raise BaseModelError(
                f"--base {name} is not a .safetensors file; pickled checkpoints are never opened"
            )
        return Base(name, "file", str(path.resolve()))
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not name.startswith((".", "~")):
        return Base(name, "hub", name)
    raise BaseModelError(
        f"--base {quoted(name)} is neither sdxl, toybox, a hub id (owner/name), a folder nor a .safetensors file that exists"
    )


def read_settings(folder: Path) -> BaseSettings:
    """The settings a base carries beside its weights, checked; the defaults when it carries none."""
    file = folder / SETTINGS_FILE
    if not file.is_file():
        return BaseSettings()
    try:
        values = parse_json(decoded(read_bytes(file, limit=TEXT_LIMIT, error=BaseModelError)))
    except ValueError as error:
        raise BaseModelError(f"{file} is not valid JSON ({error}); repair or remove it") from None
    if not isinstance(values, dict):
        raise BaseModelError(f"{file} must hold one JSON object of settings; repair or remove it")
    problems = [f"{key} is no setting" for key in unknown_keys(BaseSettings, values)]
    problems += [f"{name} {why}" for name, why in ill_typed(BaseSettings, values)]
    if problems:
        raise BaseModelError(together(f"{file} holds settings that cannot be used", problems))
    return converted(BaseSettings, values)
