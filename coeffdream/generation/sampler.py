"""Drawing a set of images: plan, draw what is missing, keep the manifest true after every batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from coeffdream.adapters.files import adapter_hashes, load_adapter
from coeffdream.backbones.base import Base
from coeffdream.backbones.device import pick_device, pick_dtype
from coeffdream.backbones.encode import Conditioning, encode_prompt
from coeffdream.backbones.load import Components, load_components
from coeffdream.backbones.sampling import Sampling, draw, initial_latents
from coeffdream.data.images import of_one_color
from coeffdream.errors import AdapterError, ConfigError, RunError
from coeffdream.generation.plan import plan_images
from coeffdream.generation.request import GIVEN, GenerateRequest
from coeffdream.generation.sets import drawn_beside, intact, place_of, take_over
from coeffdream.generation.sheet import contact_sheet
from coeffdream.progress import Progress
from coeffdream.records.base import same_weights
from coeffdream.records.environment import now
from coeffdream.records.files import replacing, sha256_of_file
from coeffdream.records.images import ImagePlan, ImageRecord, SetFolder, SetKind, SetRecord, SetSettings
from coeffdream.records.run import RunFolder, RunRecord
from coeffdream.toybox.vocabulary import unknown_words


@dataclass(frozen=True)
class Generated:
    """What came of it: the set's folder, its images, and how many of them needed no drawing.

    already_there: found in this very set. shared: the untouched base's, taken from a run beside this one.
    """

    folder: SetFolder
    images: list[ImageRecord]
    already_there: int
    shared: int = 0


@dataclass
class SetSampler:
    """A base that is loaded, and the images to draw with it: first without the adapter, or after `install` with it."""

    request: GenerateRequest
    run: RunFolder
    record: RunRecord
    components: Components
    sampling: Sampling
    prompts: str
    templates: list[str]
    jobs: list[ImagePlan]
    progress: Progress
    batch_size: int
    warn: Callable[[str], None]
    adapted: bool = False
    conditionings: dict[str, Conditioning] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        request: GenerateRequest,
        run: RunFolder,
        record: RunRecord,
        base: Base,
        progress: Progress,
        warn: Callable[[str], None],
    ) -> SetSampler:
        request.check()
        source, templates = request.templates(
            record.class_noun, record.concept.live if record.concept else None, toybox=base.is_toybox
        )
        if not request.no_adapter:
            _check_trained(run, record)
        jobs = plan_images(
            templates,
            class_noun=record.class_noun,
            token=record.token,
            images_per_prompt=request.images_each,
            seed=request.seed,
        )
        if base.is_toybox:
            _warn_of_unknown_words([job.text for job in jobs], warn)
        components = _load(request, base, progress)
        sampling = Sampling(
            request.steps or base.settings.sampling_steps,
            base.settings.guidance_scale if request.guidance is None else request.guidance,
            request.size or base.settings.resolution,
        )
        initial_latents(components, [0], sampling.size)  # raises now if the size cannot fit
        return cls(
            request=request,
            run=run,
            record=record,
            components=components,
            sampling=sampling,
            prompts=source,
            templates=list(templates),
            jobs=jobs,
            progress=progress,
            batch_size=request.batch_size or base.settings.sampling_batch_size,
            warn=warn,
        )

    def install(self) -> None:
        _install(self.components, self.run, self.record, self.request, self.warn)
        self.adapted = True

    def draw_set(self, name: str, *, with_grid: bool) -> Generated:
        """Complete one set. The manifest is true after every batch."""
        plan = self._plan(name)
        folder = place_of(self.run, plan)
        there = intact(folder, self.jobs)
        already = len(there)
        missing = [job for job in self.jobs if job.index not in there]
        beside = {} if self.adapted or not missing else drawn_beside(self.run, plan, missing)
        taken = [job for job in missing if job.index in beside]
        missing = [job for job in missing if job.index not in beside]
        self._encode(missing)  # raises for a prompt that cannot be drawn, before anything is written
        if not self.run.record_file.exists():
            self.run.write(self.record)
        if not folder.set_file.exists():
            folder.write_set(dataclasses.replace(plan, name=folder.path.name))
        for job in taken:
            take_over(beside[job.index], folder.path / job.file)
            there[job.index] = _made(folder, job)
        if taken:
            folder.write_images([there[index] for index in sorted(there)])
        self.progress("drawing", len(there), len(self.jobs), "")
        blank = []
        for first in range(0, len(missing), self.batch_size):
            batch = missing[first : first + self.batch_size]
            drawn = _draw(self.components, batch, self.conditionings, self.sampling)
            for job, image in zip(batch, drawn, strict=True):
                with replacing(folder.path / job.file) as temporary:
                    image.save(temporary, "PNG")
                blank += [job.file] if of_one_color(image) else []
                there[job.index] = _made(folder, job)
            folder.write_images([there[index] for index in sorted(there)])
            self.progress("drawing", len(there), len(self.jobs), batch[-1].prompt)
        if blank:
            self.warn(
                f"{len(blank)} of {len(missing)} pictures are of one color ({blank[0]}{', ...' if blank[1:] else ''}); "
                "try a lower --lora-scale or --alpha-scale, or train again with a smaller --lr"
            )
        images = [there[index] for index in sorted(there)]
        if with_grid and (already < len(images) or not folder.contact_sheet.exists()):
            contact_sheet(folder.path, images, folder.contact_sheet, self._title(plan))
        return Generated(folder, images, already, len(taken))

    def _plan(self, name: str) -> SetRecord:
        request = self.request
        kind: SetKind = (
            "prompts" if self.prompts == GIVEN else "unrelated" if request.unrelated else "benchmark"
        )
        return SetRecord(
            name=name,
            kind=kind,
            created=now(),
            prompts=self.prompts,
            templates=self.templates,
            class_noun=self.record.class_noun,
            images_per_prompt=request.images_each,
            settings=SetSettings(
                base=self.components.identity(),
                adapter=adapter_hashes(self.run.adapter) if self.adapted else None,
                lora_scale=request.lora_scale if self.adapted else None,
                alpha_scale=request.alpha_scale if self.adapted else None,
                token=self.record.token,
                seed=request.seed,
                steps=self.sampling.steps,
                guidance_scale=self.sampling.guidance_scale,
                negative=request.negative,
                size=self.sampling.size,
                scheduler=type(self.components.scheduler).__name__,
                precision=str(self.components.unet.dtype).removeprefix("torch."),
            ),
        )

    def _encode(self, jobs: list[ImagePlan]) -> None:
        """Every distinct prompt once, whatever set it is for; afterwards the text encoders are let go."""
        if not jobs or self.conditionings:
            return
        texts = list(dict.fromkeys(job.text for job in self.jobs))
        for text in texts:
            self.conditionings[text] = encode_prompt(self.components, text, self.request.negative)
            self.progress("encoding prompts", len(self.conditionings), len(texts), "")
        self.components.release_text_encoders()

    def _title(self, plan: SetRecord) -> str:
        who = f"{self.record.method}, {self.record.config.steps} steps"
        by = who if self.adapted else "untouched base"
        return f"{self.record.name}: {by} · {plan.prompts} prompts · {plan.settings.base.name}"


def _made(folder: SetFolder, job: ImagePlan) -> ImageRecord:
    return ImageRecord(**vars(job), sha256=sha256_of_file(folder.path / job.file))


def _check_trained(run: RunFolder, record: RunRecord) -> None:
    if record.status == "base":
        raise RunError(f"{record.name} trained nothing; add --no-adapter, or name a trained --run")
    if record.status == "diverged":
        raise RunError(
            f"{record.name} diverged, so there is nothing in it to draw with; train again with a smaller --lr "
            f"(it was {record.config.lr:g})"
        )
    if record.status != "complete":
        raise RunError(
            f"{record.name} is {record.status} after {record.steps_done} of {record.config.steps} steps; finish it "
            f"with: coeffdream train --resume {record.name}"
        )


def _warn_of_unknown_words(texts: list[str], warn: Callable[[str], None]) -> None:
    words = list(dict.fromkeys(word for text in texts for word in unknown_words(text)))
    if words:
        shown = ", ".join(words[:12]) + (f" and {len(words) - 12} more" if len(words) > 12 else "")
        warn(f"the toybox has never seen these words and will guess: {shown}")


def _load(request: GenerateRequest, base: Base, progress: Progress) -> Components:
    device = pick_device(request.device)
    progress("loading the base", 0, 1, base.name)
    components = load_components(base, device=device, dtype=pick_dtype(request.precision, device))
    progress("loading the base", 1, 1, base.name)
    return components


def _install(
    components: Components,
    run: RunFolder,
    record: RunRecord,
    request: GenerateRequest,
    warn: Callable[[str], None],
) -> None:
    if not same_weights(record.base.sketch, components.sketch):
        warn(
            f"{record.name} was trained on other weights of this architecture ({record.base.name}); likeness may suffer"
        )
    adapter = load_adapter(components.unet, run.adapter, components.architecture, warn)
    if adapter.spec.method != record.method:
        adapter.uninstall()
        raise AdapterError(
            f"{run.adapter} holds a {adapter.spec.method} adapter where run.json says {record.method}; "
            "a file is missing or was replaced, so put the original files back"
        )
    if record.adapter and record.adapter != adapter_hashes(run.adapter):
        adapter.uninstall()
        raise AdapterError(
            f"{run.adapter} is not the adapter that run.json says was trained; put the original files back, or train again"
        )
    adapter.set_scales(lora=request.lora_scale, alpha=request.alpha_scale)


def _draw(
    components: Components, batch: list[ImagePlan], conditionings: dict[str, Conditioning], sampling: Sampling
) -> Any:
    try:
        return draw(
            components, [conditionings[job.text] for job in batch], [job.seed for job in batch], sampling
        )
    except torch.OutOfMemoryError as error:
        smaller = (
            f"--batch-size {max(1, len(batch) // 2)}" if len(batch) > 1 else f"--size {sampling.size // 2}"
        )
        raise ConfigError(
            f"the GPU ran out of memory drawing {len(batch)} images of {sampling.size} pixels; what is drawn is kept. "
            f"Try {smaller}"
        ) from error
