"""What set.json says of a set that is to be drawn."""

from __future__ import annotations

from typing import Protocol

from coeffdream.backbones.device import kind_of
from coeffdream.backbones.load import Components
from coeffdream.backbones.sampling import Sampling
from coeffdream.generation.adapted import Weighted
from coeffdream.generation.plan import SetPlan
from coeffdream.generation.request import GIVEN, GenerateRequest
from coeffdream.records.environment import now
from coeffdream.records.images import SetKind, SetRecord, SetSettings
from coeffdream.records.run import RunRecord


class Drawing(Protocol):
    """What draws. prompts: where they came from. adapter: hashes of the files that are installed; None for the untouched
    base."""

    request: GenerateRequest
    record: RunRecord
    components: Components
    sampling: Sampling
    jobs: SetPlan
    prompts: str
    adapter: dict[str, str] | None
    others: Weighted

    @property
    def adapted(self) -> bool: ...


def set_record(name: str, by: Drawing, compiled: bool) -> SetRecord:
    """compiled: whether the UNet's blocks are."""
    request, record, components, sampling = by.request, by.record, by.components, by.sampling
    kind: SetKind = "prompts" if by.prompts == GIVEN else "unrelated" if request.unrelated else "benchmark"
    return SetRecord(
        name=name,
        kind=kind,
        created=now(),
        prompts=by.prompts,
        templates=list(by.jobs.templates),
        class_noun=record.class_noun,
        images_per_prompt=request.images_each,
        device=kind_of(components.device),
        settings=SetSettings(
            base=components.identity(),
            adapter=by.adapter,
            lora_scale=request.lora_scale if by.adapted else None,
            alpha_scale=request.alpha_scale if by.adapted else None,
            loras={each.sha256: weight for each, weight in by.others} if by.adapted else {},
            weights=request.by_name(record.parts) if by.adapted else {},
            checkpoint=request.checkpoint if by.adapted else None,
            folded=by.adapted and request.fold,
            compiled=compiled,
            token=record.token,
            seed=request.seed,
            steps=sampling.steps,
            guidance_scale=sampling.guidance_scale,
            negative=request.negative,
            size=sampling.size,
            scheduler=request.scheduler or type(components.scheduler).__name__,
            precision=str(components.unet.dtype).removeprefix("torch."),
            vae_tiling=components.vae_tiling,
            base_precision=components.base_precision,
        ),
    )
