"""The options of `train`, as one frozen dataclass that is validated once and written out as used.

The help of every option lives on its field; where its value comes from is settled by coeffdream/resolve.py.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Literal

from coeffdream.errors import quoted
from coeffdream.limits import LARGEST, MOST, RUN_NAME, layer_pattern, out_of_range
from coeffdream.methods import method_problems, plain_method
from coeffdream.option import option

# The paper's. The others that there are PEFT knows, and adapters/other.py.
Method = Literal["lora", "dora", "coeff", "coeff-lora", "coeff-dora"]
Parametrisation = Literal["residual", "direct-random", "direct-identity"]
AttentionKind = Literal["all", "self", "cross"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
BasePrecision = Literal["auto", "fp8", "int8", "nf4"]
Offload = Literal["auto", "none", "model", "blocks"]
Prediction = Literal["auto", "epsilon", "v"]
Preset = Literal["paper", "table3", "quality"]
LrSchedule = Literal["constant", "cosine", "linear"]
Tracker = Literal["none", "tensorboard", "wandb", "trackio"]
Compile = Literal["off", "auto", "on"]

# What diffusers calls them.
PREDICTION_TYPES: dict[Prediction, str] = {"epsilon": "epsilon", "v": "v_prediction"}

LORA_TARGET = re.compile(r"(all|self|cross)\.(q|k|v|out)")


@dataclass(frozen=True)
class TrainConfig:
    """What one training run does. Every field is in force exactly as written here."""

    concept: str = option(
        "",
        "Folder with photos of the one thing to learn, or the name of a shipped concept, such as cat.",
        group="What",
    )
    base: str = option(
        "sdxl", "sdxl, toybox, a hub id, a diffusers folder, or a .safetensors checkpoint.", group="What"
    )
    base_config: str | None = option(
        None,
        "Folder with the configs of a single-file base that is not of SDXL's own size.",
        group="What",
    )
    revision: str | None = option(None, "Branch, tag or commit of a hub base.", group="What", shown="main")
    prediction: Prediction = option(
        "auto", "What the base's UNet predicts, should its files not say it rightly.", group="What"
    )
    class_noun: str | None = option(
        None,
        "What kind of thing it is, e.g. cat; else concept.toml, else the folder's name.",
        flag="--class",
        group="What",
    )
    token: str = option("sks", "The identifier that <V> becomes in the text encoders.", group="What")
    caption: str = option(
        "a photo of <V> CLASS", "Caption of photos that have no .txt beside them.", group="What"
    )
    holdout: int = option(
        0, "Photos kept out of training, chosen by the seed, for scores to be made against.", group="What"
    )

    method: str = option(
        "coeff-lora",
        "What is trained: [coeff-]lora, [coeff-]dora, coeff, or [coeff-] and full, bitfit or a method of PEFT's, such as oft.",
        group="Adapter",
    )
    method_option: list[str] = option(
        [], "KEY=VALUE, an option of a method of PEFT's, as PEFT calls it; may be repeated.", group="Adapter"
    )
    preset: Preset = option("paper", "Which layers are trained, and how.", group="Adapter")
    rank: int = option(2, "Rank of LoRA or DoRA.", group="Adapter", shown="the base's, else 2")
    lora_targets: str = option(
        "cross.q,cross.v",
        "Projections that a LoRA, a DoRA or a method of PEFT's changes: (all|self|cross).(q|k|v|out), comma-separated.",
        group="Adapter",
    )
    alpha_on: AttentionKind = option("all", "Attention layers that mix their heads.", group="Adapter")
    alpha_layers: str | None = option(
        None, "Only those whose module path matches this regex.", group="Adapter"
    )
    coeff_dropout: float = option(0.1, "Dropout on alpha in training (Eq. 12).", group="Adapter")
    parametrisation: Parametrisation = option(
        "residual",
        "alpha' = I + alpha from zero, or alpha itself from random or identity (Table 5a).",
        group="Adapter",
    )
    alpha_groups: int = option(
        1, "Groups of heads in a row that are mixed among themselves: fewer coefficients.", group="Adapter"
    )

    steps: int = option(200, "Optimizer steps.", group="Training", shown="the base's, else 200")
    lr: float = option(3e-4, "Adam's learning rate.", group="Training", shown="the base's, else 0.0003")
    coeff_lr: float | None = option(
        None, "Learning rate of alpha, if it is to differ.", group="Training", shown="the base's, else --lr"
    )
    lr_schedule: LrSchedule = option(
        "constant", "How the learning rates fall to zero over the steps, if they do.", group="Training"
    )
    lr_warmup: int = option(0, "Steps over which the learning rates rise from zero first.", group="Training")
    max_grad_norm: float | None = option(
        None, "Clip the gradient at this norm; 1 is usual.", group="Training"
    )
    ema: float | None = option(
        None,
        "Keep an average of the adapter that decays by this a step, and draw with it; .99 is usual.",
        group="Training",
    )
    batch_size: int = option(1, "Photos per forward pass.", group="Training", shown="the base's, else 1")
    grad_accum: int = option(1, "Forward passes per optimizer step.", group="Training")
    resolution: int = option(
        1024, "Side of the square training crop, in pixels.", group="Training", shown="the base's; SDXL: 1024"
    )
    buckets: bool = option(
        False, "Cut photos to SDXL's sizes, each to the nearest in shape, not to squares.", group="Training"
    )
    masked_loss: bool = option(
        False, "Learn only what the photos' masks mark: NAME.mask.png, or alpha channels.", group="Training"
    )
    caption_dropout: float = option(
        0.0, "How often a photo is learned with an empty caption.", group="Training"
    )
    precision: Precision = option(
        "auto",
        "Of the frozen base; the adapter is always float32. auto: bf16 on a GPU that has it, else fp16; fp32 without one.",
        group="Training",
        shown="the base's, else auto",
    )
    base_precision: BasePrecision = option(
        "auto",
        "Keep the weights of the UNet's blocks in fewer bits; auto: as --precision says.",
        group="Training",
        shown="auto",
    )
    gradient_checkpointing: bool = option(
        False, "Trade a slower step for much less memory.", group="Training", shown="the base's; SDXL: on"
    )
    deterministic: bool = option(
        True,
        "On a card: a repeated run is equal to the last bit; plain LoRA is slower for it.",
        group="Training",
    )
    compile: Compile = option(
        "off",
        "Let torch.compile make one kernel of many in the UNet's blocks; auto: if ten steps are faster for it.",
        group="Training",
    )
    offload: Offload = option(
        "auto",
        "What waits on the CPU till it works: each model, or the layers of the UNet's blocks, too.",
        group="Training",
        shown="model if memory asks, else none",
    )
    vae_tiling: bool | None = option(
        None, "Decode pictures over 512 pixels in tiles.", group="Training", shown="if memory asks"
    )
    min_snr: float | None = option(
        None, "Min-SNR gamma for the loss weighting; 5 is usual.", group="Training"
    )
    noise_offset: float = option(
        0.0, "Per-channel offset added to the noise, for darker darks.", group="Training"
    )
    prior: bool = option(
        False, "Prior preservation: also train on pictures the base draws of the class.", group="Training"
    )
    prior_weight: float = option(1.0, "Weight of the prior-preservation loss.", group="Training")
    prior_images: int = option(
        100, "How many class pictures to draw (once; they are cached).", group="Training"
    )
    seed: int = option(0, "Every random draw follows from it.", group="Training")
    device: str = option("auto", "auto, cpu, cuda, cuda:1, mps.", group="Training")

    name: str | None = option(None, "Name of the run; else concept and method.", group="Output")
    runs: str = option("runs", "Where run folders are kept.", group="Output")
    sample_every: int = option(100, "Draw sample pictures every N steps; 0: never.", group="Output")
    checkpoint_every: int = option(
        100, "Write a checkpoint every N steps; 0: only when interrupted.", group="Output"
    )
    checkpoint_gb: float = option(
        2.0, "Gigabytes that a run's checkpoints may take; beyond it older ones make room.", group="Output"
    )
    log_with: Tracker = option(
        "none", "Log losses, samples and scores there, too; a package of its own.", group="Output"
    )

    @property
    def plain_method(self) -> str:
        """What is trained beside alpha; nothing where alpha is alone."""
        return plain_method(self.method)

    @property
    def uses_lora(self) -> bool:
        return self.plain_method in ("lora", "dora")

    @property
    def uses_dora(self) -> bool:
        return self.plain_method == "dora"

    @property
    def uses_coefficients(self) -> bool:
        return self.method != self.plain_method

    @property
    def alpha_lr(self) -> float:
        return self.lr if self.coeff_lr is None else self.coeff_lr

    def problems(self) -> list[str]:
        """Everything wrong with the values, one line each."""
        found = method_problems(self.method, self.method_option)
        for name in ("rank", "steps", "batch_size", "grad_accum", "prior_images", "alpha_groups"):
            found += out_of_range(flag_of(name), getattr(self, name), at_least=1, at_most=MOST[name])
        for name in ("holdout", "lr_warmup", "sample_every", "checkpoint_every", "seed"):
            if getattr(self, name) < 0:
                found.append(f"{flag_of(name)} {quoted(getattr(self, name))} must not be negative")
            found += out_of_range(flag_of(name), getattr(self, name), at_most=MOST.get(name, MOST["steps"]))
        for name in ("lr", "coeff_lr", "min_snr", "prior_weight", "max_grad_norm"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= LARGEST:
                found.append(
                    f"{flag_of(name)} {quoted(value)} must be a positive number, at most {LARGEST:,}"
                )
        if not 0 <= self.checkpoint_gb <= LARGEST:
            found.append(
                f"--checkpoint-gb {quoted(self.checkpoint_gb)} must be 0 or more, at most {LARGEST:,}"
            )
        for name in ("coeff_dropout", "caption_dropout", "ema"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                found.append(f"{flag_of(name)} {quoted(value)} must lie in [0, 1)")
        kept_otherwise = self.base_precision != "auto" or self.offload == "blocks"
        if kept_otherwise and not (self.uses_lora or self.method == "coeff"):
            found.append(
                f"--method {quoted(self.method)} changes or reads the base's weights as they are, so it goes with neither "
                "--base-precision nor --offload blocks; leave them out, or choose lora or dora"
            )
        if self.lr_warmup and self.lr_warmup >= self.steps:
            found.append(f"--lr-warmup {self.lr_warmup} must be less than --steps {self.steps}")
        if not -LARGEST <= self.noise_offset <= LARGEST:
            found.append(
                f"--noise-offset {quoted(self.noise_offset)} must be a finite number, at most {LARGEST:,}"
            )
        if not 16 <= self.resolution <= MOST["resolution"] or self.resolution % 8:
            found.append(
                f"--resolution {quoted(self.resolution)} must be a multiple of 8, at least 16 and at most "
                f"{MOST['resolution']:,}"
            )
        if not self.token.strip() or len(self.token.split()) != 1:
            found.append(f"--token {quoted(self.token)} must be one word, such as sks")
        if "<V>" not in self.caption:
            found.append(
                f"--caption {quoted(self.caption)} lacks <V>; write for example 'a photo of <V> CLASS'"
            )
        for part in self.lora_targets.split(","):
            if not LORA_TARGET.fullmatch(part.strip()):
                found.append(
                    f"--lora-targets {quoted(part.strip())} is not (all|self|cross).(q|k|v|out), such as cross.q"
                )
        if self.alpha_layers is not None:
            try:
                layer_pattern(self.alpha_layers)
            except ValueError as error:
                found.append(
                    f"--alpha-layers {quoted(self.alpha_layers)} is not a regular expression ({error}); "
                    "the syntax is RE2's, without look-around and back references"
                )
        if self.name is not None and not RUN_NAME.fullmatch(self.name):
            found.append(
                f"--name {quoted(self.name)} must be letters, digits, '.', '-' and '_', at most 100 of them"
            )
        if self.name == "latest":
            found.append("--name latest is taken by the link to the newest run; choose another")
        return found


def flag_of(name: str, of: type | None = None) -> str:
    """The command-line spelling of a field of `of`, a dataclass of options; TrainConfig unless it is given."""
    flags = {each.name: each.metadata.get("flag") for each in dataclasses.fields(of or TrainConfig)}
    return flags.get(name) or "--" + name.replace("_", "-")


def train_option(name: str, value: object) -> list[str]:
    """A field of TrainConfig as `train` takes it on its command line."""
    flag = flag_of(name)
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    if isinstance(value, list):
        return [word for each in value for word in (flag, str(each))]
    return [flag, str(value)]
