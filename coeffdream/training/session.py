"""Everything in memory while a run trains: the base loaded, the photos encoded, the adapter installed."""

from __future__ import annotations

import dataclasses

import torch

from coeffdream.adapters.count import parameter_summary
from coeffdream.adapters.install import install, spec_for
from coeffdream.adapters.lora import compute_in_base_dtype
from coeffdream.attention.checkpointing import checkpoint_keeping_attention
from coeffdream.backbones.base import Base
from coeffdream.backbones.device import DTYPES, settled
from coeffdream.backbones.encode import encode_prompt
from coeffdream.backbones.kept import base_components
from coeffdream.backbones.load import Components
from coeffdream.backbones.placement import place
from coeffdream.backbones.processes import first_one_first, processes
from coeffdream.backbones.sampling import Sampling, initial_latents
from coeffdream.backbones.schedule import prediction_of
from coeffdream.backbones.threads import settle_threads
from coeffdream.config import TrainConfig
from coeffdream.data.concept import Concept
from coeffdream.data.holdout import to_train_on
from coeffdream.data.prompts import fill_class
from coeffdream.data.record import concept_record
from coeffdream.progress import Progress
from coeffdream.records.environment import Machine, machine, now, versions
from coeffdream.records.run import RunRecord, Status, Validated
from coeffdream.training.average import new_average
from coeffdream.training.batches import TrainingData
from coeffdream.training.checkpoint import TrainingState
from coeffdream.training.compiled import settle_compile
from coeffdream.training.latent_cache import cache_class_images, cache_concept
from coeffdream.training.optimizer import new_optimizer
from coeffdream.training.prior import class_images
from coeffdream.training.samples import Sampler
from coeffdream.training.step import NoiseSchedule
from coeffdream.training.validation import Validation, prepare_validation


@dataclasses.dataclass
class Session:
    """Everything in memory while a run trains. remarks: what was found while preparing, to be noted in the run."""

    config: TrainConfig
    concept: Concept
    components: Components
    data: TrainingData
    schedule: NoiseSchedule
    sampler: Sampler | None
    validation: Validation
    untouched: Validated
    state: TrainingState
    progress: Progress
    remarks: list[str]

    @classmethod
    def prepare(cls, config: TrainConfig, concept: Concept, base: Base, progress: Progress) -> Session:
        """Load, encode and install; nothing is written to a run folder yet. Its config holds no auto any more."""
        processes().share(config.batch_size)  # raises now if it cannot be shared
        config, concept = settled(config), to_train_on(concept, config)
        device, dtype = torch.device(config.device), DTYPES[config.precision]
        progress("loading the base", 0, 1, base.name)
        # The UNet joins the others only to draw class images: encoding and training need not fit at once.
        components = base_components(
            base,
            device=device,
            dtype=dtype,
            unet_device=torch.device("cpu"),
            base_precision=config.base_precision,
        )
        progress("loading the base", 1, 1, base.name)
        place(components, config.offload, config.vae_tiling, config.resolution)
        config = dataclasses.replace(
            config,
            prediction=prediction_of(components.scheduler),
            offload=components.offload,
            vae_tiling=components.vae_tiling,
        )
        if device.type == "cpu":
            settle_threads(components.unet)
        sampling = Sampling(base.settings.sampling_steps, base.settings.guidance_scale, config.resolution)
        initial_latents(components, [0], config.resolution)  # raises now if the resolution cannot fit
        spec_for(config, components.unet)  # likewise for the choice of layers
        photos = cache_concept(components, concept.learned, config, progress)
        unseen_photos = cache_concept(components, concept.held_out, config, progress)
        class_samples = []
        if config.prior:
            prompt = fill_class("a photo of a CLASS", concept.class_noun)
            components.move(["unet"] if components.offload == "none" else [], device)
            with first_one_first():
                drawn = class_images(components, prompt, config.prior_images, sampling, progress)
            class_samples = cache_class_images(components, drawn, prompt, config.resolution, progress)
        sampler = None
        if config.sample_every:
            sampler = Sampler(components, concept.class_noun, config.token, sampling)
        class_caption = encode_prompt(components, fill_class("a photo of a CLASS", concept.class_noun))
        components.release_text_encoders()
        components.move(["vae"], torch.device("cpu"))
        components.move(["unet"], device)

        validation, untouched = prepare_validation(
            components, unseen_photos or photos, bool(unseen_photos), class_caption, config
        )
        base_says = validation.predicted(components.unet)
        adapter = install(components.unet, spec_for(config, components.unet), seed=config.seed)
        compute_in_base_dtype(adapter)
        departure = (validation.predicted(components.unet) - base_says).abs().max() / base_says.abs().max()
        untouched = dataclasses.replace(untouched, departure=departure.item())
        if config.gradient_checkpointing:
            components.unet.enable_gradient_checkpointing(checkpoint_keeping_attention)
        scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
        average = new_average(adapter, config)
        state = TrainingState(adapter, new_optimizer(adapter, config), scaler, average=average)
        data, remarks = TrainingData(photos, class_samples), list[str]()
        schedule = NoiseSchedule.of(components.scheduler)
        settled_to = settle_compile(
            components.unet, adapter, data, schedule, config, progress, remarks.append
        )
        return cls(
            dataclasses.replace(config, compile=settled_to),
            concept,
            components,
            data,
            schedule,
            sampler,
            validation,
            untouched,
            state,
            progress,
            remarks,
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
            parameters=parameter_summary(self.state.adapter, self.components.parameters),
            validation=self.untouched,
            versions=versions(),
            machine=Machine(
                **machine(), device=str(device), gpu=gpu, precision=str(self.components.unet.dtype)
            ),
        )
