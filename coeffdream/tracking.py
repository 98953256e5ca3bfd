"""A run watched from elsewhere: losses, sample pictures and scores to TensorBoard, W&B or Trackio, by accelerate's trackers.

What is logged was computed anyway: with a tracker or without, the same adapter is trained, to the byte.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from coeffdream.config import Tracker
from coeffdream.errors import ConfigError
from coeffdream.progress import unheard
from coeffdream.records.measures import DRIFT, MEASURES
from coeffdream.records.run import RunFolder, RunRecord
from coeffdream.records.scores import ScoresRecord

PROJECT = "coeffdream"
PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",), "trackio": ("trackio",)}
OF_A_STEP = (
    "loss",
    "prior_loss",
    "validation_loss",
    "class_loss",
    "lora_grad",
    "alpha_grad",
    "lr",
    "coeff_lr",
    "seconds",
)


def require(tracker: Tracker) -> None:
    """Raises ConfigError when a tracker was asked for whose package is not installed."""
    if tracker != "none" and not any(map(importlib.util.find_spec, PACKAGES[tracker])):
        raise ConfigError(
            f"--log-with {tracker} needs the package {tracker}; install it with: pip install {tracker}"
        )


@dataclasses.dataclass
class Log:
    """Where a run is told of. tracker: accelerate's; None where nobody asked for one, or it has failed.

    A failure, such as a network that goes away, ends the logging with one warning and not the work.
    """

    name: Tracker
    tracker: Any
    warn: Callable[[str], None]

    def step(self, row: Mapping[str, Any]) -> None:
        """A row of train.jsonl. What is null there, as a gradient that overflowed, is left out."""
        values = {f"train/{key}": row[key] for key in OF_A_STEP if row.get(key) is not None}
        self._tell(lambda tracker: tracker.log(values, step=row["step"]))

    def samples(self, file: Path, step: int) -> None:
        """The sample pictures of a step, one row of them."""

        def send(tracker: Any) -> None:
            if self.name == "trackio":  # for which accelerate has no pictures
                import trackio

                tracker.log({"samples": trackio.Image(str(file))}, step=step)
                return
            from PIL import Image

            with Image.open(file) as opened:
                picture = opened.convert("RGB")
            if self.name == "tensorboard":
                import numpy as np

                tracker.log_images({"samples": np.asarray(picture)[None]}, step=step, dataformats="NHWC")
            else:
                tracker.log_images({"samples": [picture]}, step=step)

        self._tell(send)

    def scores(self, scores: ScoresRecord, step: int) -> None:
        """Every score that was measured, beside its floor and ceiling."""
        parts = {"eval": scores.overall, "floor": scores.floor, "ceiling": scores.ceiling}
        values = {
            f"{part}/{name}": getattr(summary, name)
            for part, summary in parts.items()
            for name in MEASURES
            if getattr(summary, name, None) is not None
        }
        if scores.drift is not None:
            values[f"eval/{DRIFT.name}"] = scores.drift.dino
        # A run that W&B or Trackio takes up again counts on from its last step, and takes none before.
        at = step if self.name == "tensorboard" else None
        self._tell(lambda tracker: tracker.log(values, step=at))

    def finish(self) -> None:
        """Close it; what is told after that is heard by nobody."""

        def end(tracker: Any) -> None:
            if (
                self.name == "trackio"
            ):  # by accelerate's way it would be finished once more at exit, with a word
                import trackio

                trackio.finish()
            else:
                tracker.finish()

        self._tell(end)
        self.tracker = None

    def _tell(self, send: Callable[[Any], None]) -> None:
        if self.tracker is None:
            return
        try:
            with _told_on_standard_error():
                send(self.tracker)
        except Exception as error:  # each tracker has a tree of errors of its own
            self.tracker = None
            self.warn(f"nothing more is logged with {self.name} ({_brief(error)}); the work goes on")


UNLOGGED = Log("none", None, unheard)


@contextlib.contextmanager
def logging_to(
    tracker: Tracker,
    run: RunFolder,
    record: RunRecord,
    warn: Callable[[str], None],
    *,
    step: int | None = None,
) -> Iterator[Log]:
    """The log of this run, the same one each time.

    step: the step that training goes on from, 0 at its beginning; None when what follows is no training.
    Raises ConfigError when the tracker cannot be had or cannot start.
    """
    require(tracker)
    log = Log(tracker, None, warn)
    if tracker != "none":
        try:
            with _told_on_standard_error():
                log.tracker = _started(tracker, run, record, step)
        except Exception as error:
            raise ConfigError(
                f"--log-with {tracker} could not start ({_brief(error)}); set {tracker} up, or log with another"
            ) from None
    try:
        yield log
    finally:
        log.finish()


def _started(tracker: Tracker, run: RunFolder, record: RunRecord, step: int | None) -> Any:
    from accelerate.state import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    PartialState()  # accelerate's trackers ask it whether they are the main process
    # Not the name alone: another run of that name may be logged to the same project.
    identity = hashlib.sha256(f"{record.name} {record.created}".encode()).hexdigest()[:12]
    kind: Any = LOGGER_TYPE_TO_CLASS[tracker]
    if tracker == "tensorboard":
        # What an interrupted training logged beyond its checkpoint is done again.
        purge = {"purge_step": step + 1} if step else {}
        started = kind("tensorboard", logging_dir=run.path, **purge)
    elif tracker == "wandb":
        started = kind(PROJECT, name=record.name, id=identity, resume="allow", dir=str(run.path))
    else:
        started = kind(PROJECT, name=f"{record.name}-{identity}", resume="allow")
    started.start()
    if step == 0:
        told = {key: each for key, each in dataclasses.asdict(record.config).items() if each is not None}
        # No tracker takes a list of words.
        lines = {key: " ".join(each) if isinstance(each, list) else each for key, each in told.items()}
        started.store_init_configuration(lines)
    return started


def _told_on_standard_error() -> contextlib.AbstractContextManager[Any]:
    """Standard output is for results."""
    return contextlib.redirect_stdout(sys.stderr)


def _brief(error: Exception) -> str:
    return f"{' '.join(str(error)[:1000].split()) or type(error).__name__:.200}"
