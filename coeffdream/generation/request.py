"""What `generate` was asked for, checked before a model is loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from coeffdream.config import BasePrecision, Compile, Offload, Precision, flag_of
from coeffdream.data.living import is_live
from coeffdream.data.prompts import (
    check_numbered_prompt,
    check_prompt,
    load_prompts,
    names_class,
    numbered,
    of_several,
)
from coeffdream.errors import ConfigError, PromptError, quoted, together
from coeffdream.interop.choice import LoraChoice
from coeffdream.limits import MOST, RUN_NAME, out_of_range
from coeffdream.option import option

if TYPE_CHECKING:
    from coeffdream.backbones.base import BaseSettings
    from coeffdream.backbones.sampling import Sampling
    from coeffdream.records.run import Part  # --help reads this file, and needs no records

GIVEN = "given"
# steps: the training steps of SDXL's scheduler, of which each sampling step is one.
MOST_DRAWN = {"images_per_prompt": 10_000, "steps": 1000, "size": MOST["resolution"], "batch_size": 1024}
UNRELATED = "unrelated"


@dataclass(frozen=True)
class GenerateRequest:
    """The options of `generate`; None means: as the base recommends."""

    prompts: tuple[str, ...] = ()  # given by hand; none means a list
    loras: tuple[LoraChoice, ...] = ()  # adapters of other tools, on top of the run's or alone
    weights: tuple[float, ...] = ()  # of the parts of a run that holds several runs together
    prompt_list: str = option(
        "auto", "live, object, or a file (one prompt a line, or DreamBooth's own).", flag="--prompts"
    )
    images_per_prompt: int | None = option(None, "Images for each prompt.", shown="4; 1 with --unrelated")
    seed: int = option(0, "Image number i of the set has seed SEED + i.")
    steps: int | None = option(None, "Sampling steps.", shown="the base's")
    guidance: float | None = option(None, "Guidance scale.", shown="the base's")
    scheduler: str | None = option(
        None,
        "One of diffusers', such as LCMScheduler or EulerDiscreteScheduler:timestep_spacing=trailing.",
        shown="the base's",
    )
    negative: str = option("", "Negative prompt.")
    size: int | None = option(None, "Side in pixels.", shown="the base's")
    batch_size: int | None = option(
        None, "Images at a time; changes an image by at most one level in 255.", shown="the base's"
    )
    lora_scale: float = option(1.0, "Strength of the LoRA or DoRA.")
    alpha_scale: float = option(1.0, "Strength of the head-mixing coefficients.")
    checkpoint: int | None = option(
        None, "Draw with what was learned by this step.", shown="the finished adapter"
    )
    fold: bool = option(
        False,
        "Draw with LoRA or DoRA put into the weights: sooner, the same but for rounding; a set of its own.",
        switch=True,
    )
    compile: Compile = option(
        "off",
        "Let torch.compile make one kernel of many in the UNet's blocks; auto: if ten passes are faster for it. Same but for "
        "rounding.",
    )
    no_adapter: bool = option(False, "Draw with the untouched base.", switch=True)
    floor: bool = option(
        False,
        "Draw the same with the untouched base, too: what the scores are held against.",
        switch=True,
    )
    plain: bool = option(False, "Allow prompts without <V>.", switch=True)
    unrelated: bool = option(
        False,
        "Draw 25 prompts of other things with the adapter and with the untouched base, to score drift.",
        switch=True,
    )
    set_name: str | None = option(None, "Name of the set of images.", flag="--set", shown="from the prompts")
    precision: Precision = option("auto", "Of the base.")
    device: str = option("auto", "auto, cpu, cuda, cuda:1 or mps.")
    base_precision: BasePrecision | None = option(
        None, "Of the weights of the UNet's blocks: auto, fp8, int8 or nf4.", shown="as the run was trained"
    )
    offload: Offload = option(
        "auto",
        "What waits on the CPU till it works: each model, or the layers of the UNet's blocks, too.",
        shown="model if memory asks, else none",
    )
    vae_tiling: bool | None = option(None, "Decode what is over 512 pixels in tiles.", shown="if memory asks")

    def check(self) -> None:
        """Raises ConfigError with everything that is wrong but for the prompts, which `templates` checks."""
        problems = []
        for name, most in MOST_DRAWN.items():
            flag = flag_of(name, GenerateRequest)
            problems += out_of_range(flag, getattr(self, name), at_least=1, at_most=most)
        for name in ("guidance", "lora_scale", "alpha_scale"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                problems.append(f"{flag_of(name, GenerateRequest)} {value} must be a finite number")
        problems += [
            f"--adapter: the weight {weight} must be a finite number"
            for weight in self.weights
            if not math.isfinite(weight)
        ]
        if self.seed < 0:
            problems.append(f"--seed {quoted(self.seed)} must not be negative")
        problems += out_of_range("--seed", self.seed, at_most=MOST["seed"])
        problems += out_of_range("--checkpoint", self.checkpoint, at_least=1, at_most=MOST["steps"])
        if self.checkpoint is not None and (self.no_adapter or self.weights):
            problems.append(
                "--checkpoint names a step of one run's training; leave it out with --no-adapter and with several --adapter"
            )
        if self.fold and not self.adapts:
            problems.append("--fold is for what was learned; leave it out with --no-adapter")
        if self.fold and self.offload == "blocks":
            problems.append(
                "--fold changes the weights that --offload blocks keeps elsewhere; leave one of them out"
            )
        if self.floor and (self.unrelated or not self.adapts):
            flag = "--unrelated, which draws both," if self.unrelated else "--no-adapter"
            problems.append(f"--floor is what is drawn beside what was learned; leave out it or {flag}")
        if self.set_name is not None and not RUN_NAME.fullmatch(self.set_name):
            problems.append(
                f"--set {quoted(self.set_name)} must be letters, digits, '.', '-' and '_', at most 100 of them"
            )
        if self.prompts and self.prompt_list != "auto":
            problems.append("give prompts or --prompts, not both")
        if self.unrelated:
            own = {"PROMPT": self.prompts, "--prompts": self.prompt_list != "auto"}
            own |= {"--no-adapter": self.no_adapter and not self.loras, "--plain": self.plain}
            problems += [
                f"--unrelated draws its own prompts with the adapter and without; leave out {name}"
                for name, given in own.items()
                if given
            ]
        if problems:
            raise ConfigError(together("these options make no pictures", problems))

    def check_fold(self, base_precision: BasePrecision) -> None:
        """Raises ConfigError where there are no weights to fold into. base_precision: of those that are drawn with."""
        if self.fold and base_precision != "auto":
            raise ConfigError(
                f"--fold changes the base's weights, which are kept in {base_precision} here; leave it out, or add "
                "--base-precision auto"
            )

    def templates(
        self, class_noun: str, live: bool | None, *, toybox: bool, parts: Sequence[Part] = ()
    ) -> tuple[str, Sequence[str]]:
        """Where the prompts come from, and the prompts with <V> and CLASS in them. Raises PromptError.

        `toybox`: "auto" takes the lists in the words that the embedded base knows. The unrelated prompts
        are those of their list that do not name the concept's class. `parts`: of a run that holds several runs
        together; a listed "<V> CLASS" then speaks of all of them.
        """
        if self.unrelated:
            left_out = self.left_out([part.class_noun for part in parts] or [class_noun], toybox=toybox)
            listed = load_prompts(_unrelated(toybox), class_noun=class_noun)
            return listed.source, [each for each in listed.templates if each not in left_out]
        if parts:
            live = all(part.concept.live if part.concept else is_live(part.class_noun) for part in parts)
        source, templates = GIVEN, self.prompts
        if not templates:
            chosen = self.prompt_list
            if toybox and chosen == "auto":
                chosen = "toybox-live" if (is_live(class_noun) if live is None else live) else "toybox-object"
            found = load_prompts(chosen, class_noun=class_noun, live=live)
            source, templates = found.source, found.templates
        if parts:
            nouns = [part.class_noun for part in parts]
            templates = tuple(of_several(template, nouns) for template in templates)
        names = [f"{part.name} ({part.class_noun})" for part in parts]
        problems = []
        for template in templates:
            try:
                if parts:
                    check_numbered_prompt(template, names, needs_placeholder=not self.plain)
                    _check_told_apart(template, parts)
                else:
                    check_prompt(template, needs_placeholder=not self.plain)
            except PromptError as error:
                problems.append(str(error))
        if problems and source == GIVEN:
            raise PromptError(
                problems[0] if len(problems) == 1 else together("these prompts cannot be drawn", problems)
            )
        if problems:
            raise PromptError(together(f"the prompts of {source} cannot be drawn", problems))
        return source, templates

    def left_out(self, class_nouns: Sequence[str], *, toybox: bool) -> list[str]:
        """The unrelated prompts that are related after all, because they name a class that was learned."""
        if not self.unrelated:
            return []
        listed = load_prompts(_unrelated(toybox), class_noun=class_nouns[0])
        return [each for each in listed.templates if any(names_class(each, noun) for noun in class_nouns)]

    def sampling(self, settings: BaseSettings) -> Sampling:
        """How the pictures are drawn, by the base's settings where the request leaves it to them."""
        from coeffdream.backbones.sampling import (
            Sampling,
        )  # not above: --help reads this file, and needs no torch

        return Sampling(
            self.steps or settings.sampling_steps,
            settings.guidance_scale if self.guidance is None else self.guidance,
            self.size or settings.resolution,
        )

    @property
    def images_each(self) -> int:
        """Images of each prompt."""
        return self.images_per_prompt or (1 if self.unrelated else 4)

    @property
    def beside_base(self) -> bool:
        """Whether the untouched base draws the same, too."""
        return self.floor or self.unrelated

    @property
    def adapts(self) -> bool:
        """Whether anything is drawn with but the untouched base."""
        return not self.no_adapter or bool(self.loras)

    def by_name(self, parts: Sequence[Part]) -> dict[str, float]:
        """The weight of each run that draws together with others."""
        return {part.name: weight for part, weight in zip(parts, self.weights, strict=False)}

    @property
    def loras_shown(self) -> list[str]:
        return [f"{each.file.name}:{each.weight:g}" for each in self.loras]

    @property
    def default_set_name(self) -> str:
        from coeffdream.generation.plan import slug  # not above: --help reads this file, and needs no records

        if self.prompts:
            return "-".join([slug(self.prompts[0], 32), *self._at_step])
        with_others = [slug(each.file.stem, 24) for each in self.loras]
        if self.unrelated:
            return "-".join([UNRELATED, *with_others, *self._at_step])
        listed = (
            "" if self.prompt_list in ("auto", "live", "object") else slug(Path(self.prompt_list).stem, 24)
        )
        base = [] if self.adapts else ["base"]
        return "-".join([listed or "benchmark", *with_others, *self._at_step, *base])

    @property
    def _at_step(self) -> list[str]:
        return [] if self.checkpoint is None else [f"step-{self.checkpoint}"]


def _check_told_apart(template: str, parts: Sequence[Part]) -> None:
    """Raises PromptError where the noun is missing that alone tells two things of one token apart."""
    tokens = [part.token for part in parts]
    for placeholder, part in zip(numbered(len(parts)), parts, strict=True):
        shared = placeholder in template and tokens.count(part.token) > 1
        if shared and not names_class(template, part.class_noun):
            raise PromptError(
                f"the prompt {quoted(template)} does not name the {part.class_noun} that {placeholder} is, which "
                f"alone tells it from another of the token {part.token!r}; write {placeholder} {part.class_noun}"
            )


def _unrelated(toybox: bool) -> str:
    return f"toybox-{UNRELATED}" if toybox else UNRELATED
