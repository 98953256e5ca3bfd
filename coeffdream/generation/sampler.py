"""Drawing a set of images: plan, draw what is missing, keep the manifest true after every batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch

from coeffdream.backbones.base import Base
from coeffdream.backbones.encode import check_lengths
from coeffdream.backbones.load import Components
from coeffdream.backbones.processes import of_the_first, processes
from coeffdream.backbones.sampling import Sampling, initial_latents
from coeffdream.config import Compile
from coeffdream.data.images import of_one_color
from coeffdream.generation.adapted import (
    PutOn,
    Weighted,
    adapter_hashes_of,
    in_words,
    put_on,
    read_others,
    ready,
)
from coeffdream.generation.at_work import at_work
from coeffdream.generation.base_run import begin_run
from coeffdream.generation.batches import Batches
from coeffdream.generation.floors import note_set
from coeffdream.generation.loading import load_to_draw
from coeffdream.generation.plan import SetPlan
from coeffdream.generation.request import GenerateRequest
from coeffdream.generation.set_record import set_record
from coeffdream.generation.sets import (
    Generated,
    as_made,
    begun_as,
    claimed_set,
    intact,
    nothing_missing,
    take_over_beside,
    warn_of_another_device,
)
from coeffdream.generation.share import as_mask
from coeffdream.generation.sheet import sheet_of
from coeffdream.generation.wording import warn_of_other_nouns
from coeffdream.progress import Progress
from coeffdream.records.claim import confirm, in_use
from coeffdream.records.files import replacing
from coeffdream.records.images import SetFolder, SetRecord
from coeffdream.records.run import RunFolder, RunRecord
from coeffdream.toybox.vocabulary import warn_of_unknown_words


@dataclass
class SetSampler:
    """A base that is loaded, and the images to draw with it: first without the adapter, or after `install` with it."""

    request: GenerateRequest
    run: RunFolder
    record: RunRecord
    components: Components
    sampling: Sampling
    prompts: str
    jobs: SetPlan
    progress: Progress
    warn: Callable[[str], None]
    batches: Batches
    adapter: dict[str, str] | None = None  # hashes of the files, once it is installed
    others: Weighted = ()  # adapters of other tools
    on: PutOn | None = None
    compiling: Compile = "off"
    place: str = "images"  # the folder of the run that the sets lie in

    @classmethod
    def open(
        cls,
        request: GenerateRequest,
        run: RunFolder,
        record: RunRecord,
        base: Base,
        progress: Progress,
        warn: Callable[[str], None],
        components: Components | None = None,
    ) -> SetSampler:
        """components: those of a sampler that is open already; None loads the base."""
        request.check()
        source, templates = request.templates(
            record.class_noun,
            record.concept.live if record.concept else None,
            toybox=base.is_toybox,
            parts=record.parts,
        )
        if not request.no_adapter:
            record = ready(request, run, record)
        request.check_fold(request.base_precision or record.config.base_precision)
        jobs = SetPlan(
            list(templates),
            class_noun=record.class_noun,
            token=record.tokens,
            images_per_prompt=request.images_each,
            seed=request.seed,
        )
        if request.adapts:
            warn_of_other_nouns(templates, record.class_noun, warn)
        if base.is_toybox:
            warn_of_unknown_words(jobs.texts(), warn)
        sampling = request.sampling(base.settings)
        components = components or load_to_draw(request, record, base, sampling.size, progress)
        initial_latents(components, [0], sampling.size)  # raises now if the size cannot fit
        check_lengths(components, [request.negative, *jobs.texts()])
        return cls(
            request=request,
            run=run,
            record=record,
            components=components,
            sampling=sampling,
            prompts=source,
            jobs=jobs,
            progress=progress,
            warn=warn,
            batches=Batches(
                components,
                sampling,
                jobs,
                request.negative,
                request.batch_size or base.settings.sampling_batch_size,
                progress,
                warn,
            ),
            compiling=request.compile,
            others=read_others(components, request, run),
        )

    @property
    def adapted(self) -> bool:
        return self.adapter is not None

    def install(self) -> None:
        """Put the run's adapter in. Training may go on in the run afterwards: the set keeps to what was read."""
        before = adapter_hashes_of(self.request, self.run, self.record, self.others)
        self.on = put_on(self.components, self.request, self.run, self.record, self.others, self.warn)
        if not self.request.no_adapter:
            ready(self.request, self.run, self.record if self.record.parts else self.run.read())
        if adapter_hashes_of(self.request, self.run, self.record, self.others) != before:
            raise in_use(self.run.path, f"run {self.record.name}", "draw again when that has ended")
        self.adapter = before
        if self.on.changes_text:
            self.batches.forget_texts()

    def install_instead(self, request: GenerateRequest) -> None:
        """Put in what `request` draws with: the same prompts at another checkpoint, or at other strengths."""
        if self.on:
            self.on.take_off()
        self.request, self.adapter, self.on = request, None, None
        self.install()

    def adopt(self, other: SetSampler) -> None:
        """Draw with what `other` installed in the base that both draw with."""
        named = {name: getattr(other.request, name) for name in ("checkpoint", "lora_scale", "alpha_scale")}
        self.request = dataclasses.replace(self.request, **named)
        self.adapter, self.on = other.adapter, other.on

    def draw_set(self, name: str, *, with_grid: bool, last: bool = True) -> Generated:
        """Complete one set. The manifest is true after every batch.

        last: no other set follows, so that the text encoders may go once all is encoded.
        """
        fold, batch = self.on if self.request.fold else None, min(self.batches.size, len(self.jobs))
        way, idle = self._begun(name)
        with at_work(
            self.components, fold, way, idle, self.sampling, batch, self.progress, self.warn
        ) as compiled:
            self.compiling = "on" if compiled else "off"  # what is to be compared is drawn in one way
            return self._complete(name, with_grid, last) if processes().first else self._help_draw(name, last)

    def _begun(self, name: str) -> tuple[Compile, bool]:
        """Whether to compile: as was asked, and where that is to be measured, as this very set was begun. And whether
        nothing of a set to be drawn compiled is missing."""
        ways: tuple[Compile, ...] = ("off", "on") if self.compiling == "auto" else (self.compiling,)
        plans = {way: set_record(name, self, way == "on") for way in ways}
        folder, begun = begun_as(self.run.path / self.place, list(plans.values()))
        way = next((way for way, plan in plans.items() if plan is begun), self.compiling)
        idle = way == "on" and nothing_missing(self.run, folder, plans["on"], self.jobs, self.adapted)
        told = of_the_first(torch.tensor([way == "on", way == "auto", idle]))
        compiled, measured, idle = told.tolist()
        return "on" if compiled else "auto" if measured else "off", idle

    def _complete(self, name: str, with_grid: bool, last: bool) -> Generated:
        if not self.run.record_file.exists():
            self.run, self.record = begin_run(self.record, self.run.path.parent)
        plan = set_record(name, self, self.compiling == "on")
        with claimed_set(self.run.path / self.place, plan) as folder:
            there = intact(folder, self.jobs)
            warn_of_another_device(folder, plan, there, self.warn)
            already, total = len(there), len(self.jobs)
            if already < total:
                folder.keep_images(there)
            shared = (
                0
                if self.adapted or already == total
                else take_over_beside(self.run, folder, plan, self.jobs, there, self.warn)
            )
            done = already + shared
            of_the_first(as_mask(there, total))
            self.progress("drawing", done, total, "")
            blank: list[str] = []
            for batch, drawn in self.batches.drawn(there, last):
                confirm(folder.path)
                for job, image in zip(batch, drawn, strict=True):
                    with replacing(folder.path / job.file) as temporary:
                        image.save(temporary, "PNG")
                    blank += [job.file] if of_one_color(image) else []
                folder.append_images(as_made(folder, job) for job in batch)
                done += len(batch)
                self.progress("drawing", done, total, batch[-1].prompt)
            if blank:
                self.warn(
                    f"{len(blank)} of {total - already - shared} pictures are of one color "
                    f"({blank[0]}{', ...' if blank[1:] else ''}); try a lower --lora-scale or --alpha-scale, or train "
                    "again with a smaller --lr"
                )
            if already < total:  # what was drawn again goes to its place among the others
                folder.keep_images({image.index: offset for offset, image in folder.rows()})
            if not self.adapted:
                note_set(self.run, folder, plan, self.jobs)
            if with_grid and (already < total or not folder.contact_sheet.exists()):
                sheet_of(folder, total, self._title(plan), self.warn)
        return Generated(folder, total, already, shared)

    def _help_draw(self, name: str, last: bool) -> Generated:
        """Draw this process's share of what the first one finds missing; that one has the set, and writes it."""
        total = len(self.jobs)
        there = {
            index for index, is_there in enumerate(of_the_first(as_mask((), total)).tolist()) if is_there
        }
        for _ in self.batches.drawn(there, last):
            pass
        return Generated(SetFolder(self.run.path / self.place / name), total, len(there))

    def _title(self, plan: SetRecord) -> str:
        by = in_words(self.request, self.record) if self.adapted else "untouched base"
        return f"{self.record.name}: {by} · {plan.prompts} prompts · {plan.settings.base.name}"
