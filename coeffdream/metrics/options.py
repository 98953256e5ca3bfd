"""What `eval` measures with: the options of the command, light enough for its help."""

from __future__ import annotations

from dataclasses import dataclass

from coeffdream.data.prompts import ScoringMode
from coeffdream.errors import ConfigError
from coeffdream.limits import MOST, out_of_range
from coeffdream.option import option


@dataclass(frozen=True)
class ScoringOptions:
    """Which encoders score, and what they read. None takes those that fit the base (see `encoders_for`)."""

    scores: str = option(
        "default",
        "Which scores, such as text,concept; default,NAME adds one. Only their models are loaded.",
        shown="all of CLIP and DINOv2",
    )
    score_text: ScoringMode = option("class", "What is made of <V> CLASS in the scored text.")
    clip_model: str | None = option(
        None, "An open_clip model, or local-dir:PATH.", shown="ViT-B-32-quickgelu"
    )
    clip_pretrained: str | None = option(None, "An open_clip tag, or a local file.", shown="openai")
    dino_model: str | None = option(None, "A hub id or folder.", shown="facebook/dinov2-base")
    dino_vits16_model: str | None = option(
        None, "For the score dino-vits16: a hub id or folder.", shown="facebook/dino-vits16"
    )
    pickscore_model: str | None = option(
        None, "For the score pickscore: a hub id or folder.", shown="yuvalkirstain/PickScore_v1"
    )
    vqa_model: str | None = option(
        None, "For the score vqa: a hub id or folder.", shown="Salesforce/blip-vqa-base"
    )
    device: str = option("auto", "auto, cpu, cuda, cuda:1 or mps.")
    batch_size: int = option(32, "Images per forward pass; scores agree to six digits whatever it is.")

    def check(self) -> None:
        """Raises ConfigError."""
        from coeffdream.metrics.registry import chosen

        chosen(self.scores)
        if problems := out_of_range("--batch-size", self.batch_size, at_least=1, at_most=MOST["batch_size"]):
            raise ConfigError(problems[0])
