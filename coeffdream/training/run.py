"""A training run from its config to its folder: load, encode, install, train, save."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import torch

from coeffdream.adapters.files import adapter_hashes, save_adapter
from coeffdream.adapters.install import Adapter, install, spec_for
from coeffdream.attention.checkpointing import checkpoint_keeping_attention
from coeffdream.backbones.base import Base
from coeffdream.backbones.device import DTYPES, settled
from coeffdream.backbones.load import Components, load_components
from coeffdream.backbones.placement import place
from coeffdream.backbones.sampling import Sampling, initial_latents
from coeffdream.backbones.schedule import prediction_of
from coeffdream.backbones.threads import settle_threads
from coeffdream.config import TrainConfig
from coeffdream.data.concept import Concept
from coeffdream.data.holdout import hold_out
from coeffdream.data.prompts import fill_class
from coeffdream.data.record import concept_record
from coeffdream.errors import DivergedError, RunError
from coeffdream.interop.beside import write_beside
from coeffdream.progress import Look, Progress, unheard, unseen
from coeffdream.records.claim import confirm
from coeffdream.records.environment import Machine, machine, now, versions
from coeffdream.records.latest import point_latest_at
from coeffdream.records.run import Parameters, RunFolder, RunRecord, Status, held_run, new_run
from coeffdream.tracking import UNLOGGED, Log, logging_to, require
from coeffdream.training.advice import PREPARING, TRAINING, advised
from coeffdream.training.checkpoint import (
    TrainingState,
    checkpoint_due,
    list_checkpoints,
    restore_checkpoint,
    save_checkpoint,
    steps_kept,
)
from coeffdream.training.latent_cache import cache_class_images, cache_concept
from coeffdream.training.loop import TrainingData, run_steps
from coeffdream.training.optimizer import new_optimizer
from coeffdream.training.prior import class_images
from coeffdream.training.resumable import as_it_was, check_resumable
from coeffdream.training.samples import Sampler
from coeffdream.training.step import NoiseSchedule


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
            session = _Session.prepare(config, concept, base, progress)
        record = session.record(run.path.name, "training")
        confirm(run.path)
        run.create(record)
        _mark_as_latest(run, warn)
        with logging_to(config.log_with, run, record, warn, step=0) as log:
            return run, session.execute(run, record, log, warn, look)


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
            session = _Session.prepare(config, concept, base, progress)
        if not record.base.same_as(session.components.identity()):
            raise RunError(
                f"{run.path.name} was trained on other weights of {record.base.name}; resume with those"
            )
        if checkpoints:
            restore_checkpoint(checkpoints[-1], session.state, session.components.architecture, warn)
        record = dataclasses.replace(record, status="training", config=session.config, adapter={})
        run.write(dataclasses.replace(record, steps_done=session.state.step))
        _mark_as_latest(run, warn)
        with logging_to(config.log_with, run, record, warn, step=session.state.step) as log:
            return session.execute(run, record, log, warn, look)


def _mark_as_latest(run: RunFolder, warn: Callable[[str], None]) -> None:
    """A convenience, and no reason to lose the work over."""
    try:
        point_latest_at(run.path)
    except OSError as error:
        warn(
            f"runs/latest could not be written ({error.strerror or error}); name this run with --run {run.path.name}"
        )


@dataclasses.dataclass
class _Session:
    """Everything in memory while a run trains."""

    config: TrainConfig
    concept: Concept
    components: Components
    data: TrainingData
    sampler: Sampler | None
    state: TrainingState
    total_parameters: int
    progress: Progress

    @classmethod
    def prepare(cls, config: TrainConfig, concept: Concept, base: Base, progress: Progress) -> _Session:
        """Load, encode and install; nothing is written to a run folder yet. Its config holds no auto any more."""
        config, concept = settled(config), hold_out(concept, config.holdout, config.seed)
        device, dtype = torch.device(config.device), DTYPES[config.precision]
        progress("loading the base", 0, 1, base.name)
        # The UNet joins the others only to draw class images: encoding and training need not fit at once.
        components = load_components(base, device=device, dtype=dtype, unet_device=torch.device("cpu"))
        progress("loading the base", 1, 1, base.name)
        place(components, config.model_offload, config.vae_tiling, config.resolution)
        config = dataclasses.replace(
            config,
            prediction=prediction_of(components.scheduler),
            model_offload=components.model_offload,
            vae_tiling=components.vae_tiling,
        )
        if device.type == "cpu":
            settle_threads(components.unet)
        sampling = Sampling(base.settings.sampling_steps, base.settings.guidance_scale, config.resolution)
        initial_latents(components, [0], config.resolution)  # raises now if the resolution cannot fit
        spec_for(config, components.unet)  # likewise for the choice of layers
        photos = cache_concept(components, concept.learned, config.token, config.resolution, progress)
        class_samples = []
        if config.prior:
            prompt = fill_class("a photo of a CLASS", concept.class_noun)
            components.move([] if components.model_offload else ["unet"], device)
            drawn = class_images(components, prompt, config.prior_images, sampling, progress)
            class_samples = cache_class_images(components, drawn, prompt, config.resolution, progress)
        sampler = None
        if config.sample_every:
            sampler = Sampler(components, concept.class_noun, config.token, sampling)
        components.release_text_encoders()
        components.move(["vae"], torch.device("cpu"))
        components.move(["unet"], device)

        total = sum(parameter.numel() for parameter in components.unet.parameters())
        adapter = install(components.unet, spec_for(config, components.unet), seed=config.seed)
        if config.gradient_checkpointing:
            components.unet.enable_gradient_checkpointing(checkpoint_keeping_attention)
        scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
        state = TrainingState(adapter, new_optimizer(adapter, config), scaler)
        return cls(
            config, concept, components, TrainingData(photos, class_samples), sampler, state, total, progress
        )

    def record(self, name: str, status: Status) -> RunRecord:
        device = self.components.device
        gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
        return RunRecord(
            name=name,
            status=status,
            created=now(),
            method=self.config.method,
            config=self.config,
            base=self.components.identity(),
            class_noun=self.concept.class_noun,
            token=self.config.token,
            concept=concept_record(self.concept),
            parameters=parameter_summary(self.state.adapter, self.total_parameters),
            versions=versions(),
            machine=Machine(
                **machine(), device=str(device), gpu=gpu, precision=str(self.components.unet.dtype)
            ),
        )

    def execute(
        self,
        run: RunFolder,
        record: RunRecord,
        log: Log = UNLOGGED,
        warn: Callable[[str], None] = unheard,
        look: Look = unseen,
    ) -> bool:
        """Run the loop; whatever happens, run.json says how far it came and what was odd."""
        config, state, architecture = self.config, self.state, self.components.architecture
        record = dataclasses.replace(record, notes=list(record.notes))

        def notice(line: str) -> None:
            warn(line)
            record.notes.append(line)

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
            if not self.sampler:
                return
            file = run.samples / f"step_{done:06d}.png"
            if self.sampler.draw(file):
                notice(
                    f"a sample picture of step {done} is of one color: what was learned, or the base, is broken; "
                    "try a smaller --lr"
                )
            log.samples(file, done)

        def after_step(done: int) -> None:
            confirm(run.path)
            if config.sample_every and (done % config.sample_every == 0 or done == config.steps):
                sample(done)
            if checkpoint_due(done, config):
                save_checkpoint(run.checkpoints, state, architecture)
                run.write(dataclasses.replace(record, steps_done=done))
            show()

        status: Status = "failed"
        adapter = record.adapter
        try:
            show()
            with advised(config, TRAINING):
                if state.step == 0:
                    sample(0)
                finished = run_steps(
                    self.components.unet,
                    state,
                    self.data,
                    NoiseSchedule.of(self.components.scheduler),
                    config,
                    run.log,
                    after_step=after_step,
                    notice=notice,
                    track=log.step,
                    progress=self.progress,
                )
            confirm(run.path)
            if finished:
                save_adapter(state.adapter, run.adapter, architecture)
                scheduler = self.components.scheduler.config
                write_beside(run, record, state.adapter.lora, self.components.unet, scheduler)
                adapter = adapter_hashes(run.adapter)
            else:
                save_checkpoint(run.checkpoints, state, architecture)
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


def parameter_summary(adapter: Adapter, total: int) -> Parameters:
    lora = sum(parameter.numel() for parameter in adapter.lora.values())
    alpha = sum(parameter.numel() for parameter in adapter.alpha.values())
    return Parameters(
        unet=total,
        lora=lora,
        alpha=alpha,
        trained=lora + alpha,
        percent=100 * (lora + alpha) / total,
        lora_modules=len(adapter.spec.lora),
        alpha_layers=len(adapter.spec.alpha),
    )
