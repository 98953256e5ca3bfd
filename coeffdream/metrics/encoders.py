"""The encoders at hand, one for each model of the registry."""

from __future__ import annotations

from dataclasses import dataclass

from coeffdream.metrics.encoder import ImageEncoder, ImageTextEncoder, PatchEncoder, PromptedEncoder


@dataclass(frozen=True)
class Encoders:
    """One for each of the registry's models; None for one that no score needs.

    `embedded` is True when one of them is one that the package carries.
    """

    clip: ImageTextEncoder | None
    dino: PatchEncoder | None
    embedded: bool
    dino_vits16: ImageEncoder | None = None
    pickscore: PromptedEncoder | None = None
    vqa: PromptedEncoder | None = None
