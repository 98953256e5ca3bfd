"""Whether going on with a run would be what the run would have been."""

from __future__ import annotations

from dataclasses import replace

from coeffdream.config import TrainConfig, flag_of
from coeffdream.data.concept import Concept
from coeffdream.errors import ConfigError, together
from coeffdream.records.run import RunRecord

# What may change when a run is resumed: it alters no draw and no update of the steps already counted.
RESUMABLE = (
    "steps",
    "sample_every",
    "checkpoint_every",
    "checkpoint_gb",
    "device",
    "log_with",
    "offload",
    "vae_tiling",
)


def check_resumable(record: RunRecord, config: TrainConfig, concept: Concept, reached: int) -> None:
    """Raises ConfigError when going on would not be what the run would have been.

    reached: the step of the newest checkpoint, which run.json may not know of yet.
    """
    problems = [
        f"{flag_of(name)} was {value!r} and is now {getattr(config, name)!r}"
        for name, value in (vars(record.config) | {"precision": record.precision}).items()
        if name not in (*RESUMABLE, "runs", "name", "concept", "class_noun")
        and getattr(config, name) != value
    ]
    if concept.class_noun != record.class_noun:
        problems.append(f"--class was {record.class_noun!r} and is now {concept.class_noun!r}")
    learned = record.concept.images if record.concept else []
    if [(photo.file, photo.sha256, photo.caption) for photo in learned] != [
        (image.path.name, image.sha256, image.caption) for image in concept.images
    ]:
        problems.append(f"the photos or captions in {concept.folder} are not those the run began with")
    if config.masked_loss and [photo.mask_sha256 for photo in learned] != [
        image.mask_sha256 for image in concept.images
    ]:
        problems.append(f"the masks in {concept.folder} are not those the run began with")
    if config.steps != record.config.steps and config.lr_schedule != "constant":
        problems.append(
            f"--steps was {record.config.steps} and is now {config.steps}, from which --lr-schedule "
            f"{config.lr_schedule} gives every step another learning rate"
        )
    if config.steps < reached:
        problems.append(f"--steps {config.steps} is less than the {reached} steps already done")
    if problems:
        raise ConfigError(
            together(f"{record.name} cannot be resumed exactly (start a new run instead)", problems)
        )


def as_it_was(config: TrainConfig, record: RunRecord) -> TrainConfig:
    """A config that leaves to "auto" what was settled when the run began."""
    return replace(
        config,
        precision=record.precision if config.precision == "auto" else config.precision,
        prediction=record.config.prediction if config.prediction == "auto" else config.prediction,
        compile=record.config.compile if config.compile == "auto" else config.compile,
    )
