"""A training run from its config to its folder: load, encode, install, train, save."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from coeffdream.adapters.files import adapter_hashes, save_adapter
from coeffdream.attention.choice import remembered
from coeffdream.backbones.base import Base
from coeffdream.config import TrainConfig
from coeffdream.data.concept import Concept
from coeffdream.errors import DivergedError, RunError
from coeffdream.interop.beside import write_beside
from coeffdream.progress import Look, Progress, unheard, unseen
from coeffdream.records.checkpoints import list_checkpoints, make_room, steps_kept
from coeffdream.records.claim import confirm
from coeffdream.records.latest import point_latest_at
from coeffdream.records.run import RunFolder, RunRecord, Status, held_run, new_run
from coeffdream.tracking import UNLOGGED, Log, logging_to, require
from coeffdream.training.advice import PREPARING, TRAINING, advised
from coeffdream.training.average import averaged
from coeffdream.training.checkpoint import checkpoint_due, restore_checkpoint, save_checkpoint
from coeffdream.training.compiled import as_written
from coeffdream.training.loop import run_steps
from coeffdream.training.resumable import as_it_was, check_resumable
from coeffdream.training.session import Session


def train(
    config: TrainConfig,
    concept: Concept,
    base: Base,
    progress: Progress,
    warn: Callable[[str], None] = unheard,
    look: Look = unseen,
) -> tuple[RunFolder, bool]:
    """Train a new run. Returns its folder, and False when it was stopped before the last step."""
    require(config.log_with)
    with new_run(config.name or f"{concept.name}-{config.method}", Path(config.runs)) as run:
        with advised(config, PREPARING):
            session = Session.prepare(config, concept, base, progress)
        record = session.record(run.path.name, "training")
        confirm(run.path)
        run.create(record)
        _mark_as_latest(run, warn)
        with logging_to(config.log_with, run, record, warn, step=0) as log:
            return run, execute(session, run, record, log, warn, look)


def resume(
    run: RunFolder,
    config: TrainConfig,
    concept: Concept,
    base: Base,
    progress: Progress,
    warn: Callable[[str], None] = unheard,
    look: Look = unseen,
) -> bool:
    """Go on from a run's newest checkpoint (or its start), exactly. False when stopped again.

    Raises InUseError when another process is at work in the run.
    """
    require(config.log_with)
    with held_run(run, "train --resume"):
        record = run.read()
        checkpoints = list_checkpoints(run.checkpoints)
        config = as_it_was(config, record)
        check_resumable(record, config, concept, steps_kept(run.checkpoints))
        with advised(config, PREPARING):
            session = Session.prepare(config, concept, base, progress)
        if not record.base.same_as(session.components.identity()):
            raise RunError(
                f"{run.path.name} was trained on other weights of {record.base.name}; resume with those"
            )
        if checkpoints:
            restore_checkpoint(checkpoints[-1], session.state, session.components.architecture, warn)
        record = dataclasses.replace(
            record, status="training", config=session.config, adapter={}, validation=session.untouched
        )
        run.write(dataclasses.replace(record, steps_done=session.state.step))
        _mark_as_latest(run, warn)
        with logging_to(config.log_with, run, record, warn, step=session.state.step) as log:
            return execute(session, run, record, log, warn, look)


def _mark_as_latest(run: RunFolder, warn: Callable[[str], None]) -> None:
    """A convenience, and no reason to lose the work over."""
    try:
        point_latest_at(run.path)
    except OSError as error:
        warn(
            f"runs/latest could not be written ({error.strerror or error}); name this run with --run {run.path.name}"
        )


def execute(
    session: Session,
    run: RunFolder,
    record: RunRecord,
    log: Log = UNLOGGED,
    warn: Callable[[str], None] = unheard,
    look: Look = unseen,
) -> bool:
    """Run the loop; whatever happens, run.json says how far it came and what was odd."""
    config, state, architecture = session.config, session.state, session.components.architecture
    record = dataclasses.replace(record, notes=list(record.notes), attention=dict(record.attention))

    def notice(line: str) -> None:
        warn(line)
        record.notes.append(line)

    for line in session.remarks:
        notice(line)
    unlooked = False  # of all that fails, the first is told

    def show(*, ended: bool = False) -> None:
        nonlocal unlooked
        try:
            look(run.path, ended)
        except Exception as error:  # a page, even one on a full disk, is no reason to lose the work over
            if not unlooked:
                notice(f"the run's page could not be written ({error}); the training goes on")
            unlooked = True

    def sample(done: int) -> None:
        if not session.sampler:
            return
        file = run.samples / f"step_{done:06d}.png"
        with averaged(state.adapter, state.average), as_written(config):
            of_one_color = session.sampler.draw(file)
        if of_one_color:
            notice(
                f"a sample picture of step {done} is of one color: what was learned, or the base, is broken; "
                "try a smaller --lr"
            )
        log.samples(file, done)

    def validate() -> dict[str, float]:
        with as_written(config):
            return session.validation.measure(session.components.unet, averaged(state.adapter, state.average))

    def keep() -> None:
        save_checkpoint(run.checkpoints, state, architecture)
        make_room(run.checkpoints, round(config.checkpoint_gb * 1e9))

    def after_step(done: int) -> None:
        confirm(run.path)
        if config.sample_every and (done % config.sample_every == 0 or done == config.steps):
            sample(done)
        if checkpoint_due(done, config):
            keep()
            run.write(dataclasses.replace(record, steps_done=done))
        show()

    status: Status = "failed"
    adapter = record.adapter
    try:
        show()
        with remembered(record.attention), advised(config, TRAINING):
            if state.step == 0:
                sample(0)
            finished = run_steps(
                session.components.unet,
                state,
                session.data,
                session.schedule,
                config,
                run.log,
                after_step=after_step,
                validate=validate,
                notice=notice,
                track=log.step,
                progress=session.progress,
            )
        confirm(run.path)
        if finished:
            scheduler = session.components.scheduler.config
            with averaged(state.adapter, state.average):
                save_adapter(state.adapter, run.adapter, architecture)
                write_beside(run, record, state.adapter.lora, session.components.unet, scheduler)
            adapter = adapter_hashes(run.adapter)
        else:
            keep()
        status = "complete" if finished else "interrupted"
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    except DivergedError as error:
        status = "diverged"
        record.notes.append(str(error))
        raise
    finally:
        confirm(run.path)
        done = steps_kept(run.checkpoints)
        run.write(dataclasses.replace(record, status=status, steps_done=done, adapter=adapter))
        show(ended=True)
    return finished
