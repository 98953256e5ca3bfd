"""Training together with the process that writes the run: the same steps, on this process's share of each batch."""

from __future__ import annotations

from dataclasses import replace

from coeffdream.backbones.base import Base
from coeffdream.config import TrainConfig
from coeffdream.data.concept import Concept
from coeffdream.progress import silent
from coeffdream.records.checkpoints import list_checkpoints
from coeffdream.records.run import RunFolder
from coeffdream.training.checkpoint import restore_checkpoint
from coeffdream.training.loop import run_steps
from coeffdream.training.resumable import as_it_was
from coeffdream.training.session import Session
from coeffdream.training.step import NoiseSchedule


def help_train(config: TrainConfig, concept: Concept, base: Base, run: RunFolder | None) -> bool:
    """run: the one that is resumed, whose checkpoints every process reads. False when it was stopped."""
    checkpoints = []
    if run is not None:
        config, checkpoints = as_it_was(config, run.read()), list_checkpoints(run.checkpoints)
    session = Session.prepare(replace(config, sample_every=0), concept, base, silent)
    if checkpoints:
        restore_checkpoint(checkpoints[-1], session.state, session.components.architecture)
    return run_steps(
        session.components.unet,
        session.state,
        session.data,
        NoiseSchedule.of(session.components.scheduler),
        session.config,
        None,
        after_step=lambda done: None,
        progress=silent,
    )
