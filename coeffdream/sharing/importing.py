"""An adapter of another tool as a run, so that everything that works on runs works on it."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from coeffdream.backbones.base import Base
from coeffdream.backbones.load import load_components
from coeffdream.config import TrainConfig
from coeffdream.data.concept import Concept
from coeffdream.data.record import concept_record
from coeffdream.interop.attach import attach
from coeffdream.interop.choice import IMPORTED_FILE
from coeffdream.interop.names import TEXT_ENCODERS, UNET
from coeffdream.interop.read import PEFT_CONFIG, OtherAdapter, read_adapter
from coeffdream.progress import Progress
from coeffdream.records.environment import Machine, machine, now, versions
from coeffdream.records.files import replacing
from coeffdream.records.latest import point_latest_at
from coeffdream.records.run import IMPORTED, Parameters, RunFolder, RunRecord, new_run

TRIGGER = "modelspec.trigger_phrase"


def import_adapter(
    file: Path,
    concept: Concept,
    base: Base,
    *,
    token: str | None,
    name: str | None,
    runs: Path,
    progress: Progress,
) -> RunFolder:
    """Make a finished run of `file` that stands for `concept`.

    token: what <V> becomes in prompts; None takes it from the trigger phrase that the file tells, else sks.
    Raises AdapterError, and leaves no folder, when the file does not fit the base.
    """
    progress("loading the base", 0, 1, base.name)
    components = load_components(base, device=torch.device("cpu"), dtype=torch.float32)
    progress("loading the base", 1, 1, base.name)
    adapter = read_adapter(file, components.unet)
    attach([(adapter, 1.0)], {each: getattr(components, each) for each in (UNET, *TEXT_ENCODERS)}).remove()
    total = sum(parameter.numel() for parameter in components.unet.parameters())
    with new_run(name or f"{concept.name}-{file.stem}", runs) as run:
        beside = file.with_name(PEFT_CONFIG)
        for source, target in ((file, IMPORTED_FILE), (beside, PEFT_CONFIG)):
            if source.is_file():
                with replacing(run.adapter / target) as temporary:
                    shutil.copyfile(source, temporary)
        record = RunRecord(
            name=run.path.name,
            status="complete",
            created=now(),
            method=f"{IMPORTED}{adapter.kind}",
            # How it was trained nobody knows: this config is that of nothing, and no step was taken here.
            config=TrainConfig(concept=str(concept.folder), **base.asked),
            base=components.identity(),
            class_noun=concept.class_noun,
            token=token or _token_of(adapter, concept.class_noun),
            concept=concept_record(concept),
            parameters=Parameters(
                unet=total,
                lora=adapter.parameters,
                trained=adapter.parameters,
                percent=100 * adapter.parameters / total,
                lora_modules=sum(len(changes) for changes in adapter.changes.values()),
            ),
            versions=versions(),
            machine=Machine(**machine()),
        )
        run.create(record)
    point_latest_at(run.path)
    return run


def _token_of(adapter: OtherAdapter, class_noun: str) -> str:
    words = [
        word for word in adapter.metadata.get(TRIGGER, "").replace(",", " ").split() if word != class_noun
    ]
    return words[0] if words else "sks"
