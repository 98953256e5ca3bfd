"""Which encoders make the scores that were chosen, and which of them fit which base."""

from __future__ import annotations

from collections.abc import Sequence

from coeffdream.backbones.device import pick_device
from coeffdream.metrics.encoder import ImageEncoder, ImageTextEncoder, PatchEncoder, PromptedEncoder
from coeffdream.metrics.encoders import Encoders
from coeffdream.metrics.options import ScoringOptions
from coeffdream.metrics.registry import Score, chosen

TOYBOX = "toybox"


def encoders_for(base: str, options: ScoringOptions, scores: Sequence[Score] | None = None) -> Encoders:
    """What `scores` (else those of `options`) need: the embedded CLIP and DINOv2 for base "toybox", the standard ones
    for any other, unless others are named.

    Raises ScoreError when weights cannot be had.
    """
    scores = chosen(options.scores) if scores is None else scores
    models = {score.model for score in scores}
    device = str(pick_device(options.device))
    embedded_clip = base == TOYBOX and options.clip_model is None and options.clip_pretrained is None
    embedded_dino = base == TOYBOX and options.dino_model is None
    return Encoders(
        clip=_clip(options, device, embedded=embedded_clip) if "clip" in models else None,
        dino=_dino(options, device, embedded=embedded_dino) if "dino" in models else None,
        embedded=("clip" in models and embedded_clip) or ("dino" in models and embedded_dino),
        dino_vits16=_dino_vits16(options, device) if "dino_vits16" in models else None,
        pickscore=_pickscore(options, device) if "pickscore" in models else None,
        vqa=_vqa(options, device) if "vqa" in models else None,
    )


def _clip(options: ScoringOptions, device: str, *, embedded: bool) -> ImageTextEncoder:
    from coeffdream.metrics.clip import CLIP_MODEL, CLIP_PRETRAINED, LOCAL, ClipEncoder
    from coeffdream.toybox.paths import CLIP_SCORER

    source = f"{LOCAL}{CLIP_SCORER}" if embedded else options.clip_model or CLIP_MODEL
    return ClipEncoder(source, options.clip_pretrained or CLIP_PRETRAINED, device=device)


def _dino(options: ScoringOptions, device: str, *, embedded: bool) -> PatchEncoder:
    from coeffdream.metrics.dino import DinoEncoder
    from coeffdream.toybox.paths import DINO_SCORER

    return DinoEncoder(str(DINO_SCORER) if embedded else options.dino_model, device=device)


def _dino_vits16(options: ScoringOptions, device: str) -> ImageEncoder:
    from coeffdream.metrics.dino import DINO_VITS16, DinoEncoder

    return DinoEncoder(options.dino_vits16_model, device=device, family=DINO_VITS16)


def _pickscore(options: ScoringOptions, device: str) -> PromptedEncoder:
    from coeffdream.metrics.pickscore import PickScoreEncoder

    return PickScoreEncoder(options.pickscore_model, device=device)


def _vqa(options: ScoringOptions, device: str) -> PromptedEncoder:
    from coeffdream.metrics.vqa import VqaEncoder

    return VqaEncoder(options.vqa_model, device=device)
