"""Which two encoders score the pictures of which base."""

from __future__ import annotations

from dataclasses import dataclass

from coeffdream.backbones.device import pick_device
from coeffdream.metrics.encoder import ImageEncoder, ImageTextEncoder
from coeffdream.metrics.options import ScoringOptions

TOYBOX = "toybox"


@dataclass(frozen=True)
class Encoders:
    """`embedded` is True when either encoder is one that the package carries."""

    clip: ImageTextEncoder
    dino: ImageEncoder
    embedded: bool


def encoders_for(base: str, options: ScoringOptions) -> Encoders:
    """The embedded scorers for base "toybox", the standard ones for any other, unless others are named.

    Raises ScoreError when weights cannot be had.
    """
    from coeffdream.metrics.clip import CLIP_MODEL, CLIP_PRETRAINED, LOCAL, ClipEncoder
    from coeffdream.metrics.dino import DINO_MODEL, DinoEncoder
    from coeffdream.toybox.paths import CLIP_SCORER, DINO_SCORER

    embedded_clip = base == TOYBOX and options.clip_model is None and options.clip_pretrained is None
    embedded_dino = base == TOYBOX and options.dino_model is None
    clip_source = f"{LOCAL}{CLIP_SCORER}" if embedded_clip else options.clip_model or CLIP_MODEL
    dino_source = str(DINO_SCORER) if embedded_dino else options.dino_model or DINO_MODEL
    device = str(pick_device(options.device))
    return Encoders(
        clip=ClipEncoder(clip_source, options.clip_pretrained or CLIP_PRETRAINED, device=device),
        dino=DinoEncoder(dino_source, device=device),
        embedded=embedded_clip or embedded_dino,
    )
