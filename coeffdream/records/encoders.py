"""What the models that made the scores say of themselves."""

from __future__ import annotations

from dataclasses import dataclass

from coeffdream.records.fields import Positive


@dataclass(frozen=True)
class EncoderRecord:
    """What an encoder says of itself. `preprocessing` is as its library names it; `width` that of the features."""

    name: str
    model: str
    pretrained: str
    weights_sha256: str
    config_sha256: str
    preprocessing: dict[str, bool | int | float | str | list[float] | None]
    width: Positive
    versions: dict[str, str]
    context_length: Positive | None = None  # tokens, where it reads texts
    feature: str | None = None


@dataclass(frozen=True)
class EncoderRecords:
    """The models of all scores that were made; None for one that made none. `Measure.model` names the field."""

    clip: EncoderRecord | None
    dino: EncoderRecord | None
    dino_vits16: EncoderRecord | None = None
    pickscore: EncoderRecord | None = None
    vqa: EncoderRecord | None = None

    @property
    def used(self) -> dict[str, EncoderRecord]:
        """Those that made a score, by their field."""
        return {name: each for name, each in vars(self).items() if each is not None}
