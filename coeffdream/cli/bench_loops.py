"""`coeffdream bench train` and `coeffdream bench generate`: ours beside diffusers and PEFT alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coeffdream.cli.terminal import ProgressDisplay, loading, say, show, show_json
from coeffdream.config import TrainConfig
from coeffdream.errors import ConfigError, together
from coeffdream.limits import out_of_range

if TYPE_CHECKING:
    from coeffdream.bench.loops import Comparison, Contender

BaseOption = Annotated[
    str, typer.Option("--base", help="A base, or random-sdxl: SDXL's true size with drawn weights.")
]
Resolution = Annotated[
    int | None, typer.Option(help="Side of the pictures, in pixels.", show_default="the base's")
]
Batch = Annotated[int, typer.Option(help="Samples at a time.")]
Rounds = Annotated[int, typer.Option(help="Turns of each contender.")]
Rank = Annotated[int, typer.Option(help="Rank of LoRA.")]
Targets = Annotated[str, typer.Option(help="Projections with a LoRA.")]
Precision = Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Json = Annotated[bool, typer.Option("--json", help="Print every timing as JSON.")]

DEFAULT_TARGETS = "all.q,all.k,all.v,all.out"  # diffusers' script trains these


def train(
    base: BaseOption = "toybox",
    resolution: Resolution = None,
    batch_size: Batch = 1,
    steps: Annotated[int, typer.Option(help="Timed optimizer steps a turn.")] = 5,
    rounds: Rounds = 3,
    rank: Rank = 2,
    lora_targets: Targets = DEFAULT_TARGETS,
    gradient_checkpointing: Annotated[
        bool | None, typer.Option(help="Recompute activations.", show_default="the base's")
    ] = None,
    precision: Precision = "auto",
    device: Device = "auto",
    script: Annotated[
        Path | None, typer.Option(help="diffusers' train_dreambooth_lora_sdxl.py, to be timed, too.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Time a training step of ours beside the shortest one with diffusers and PEFT, in turn.

    Example: coeffdream bench train --base toybox --batch-size 4
    """
    with loading("torch", "diffusers", "peft"):
        from coeffdream.bench.loops import Contender, compare_training
        from coeffdream.bench.script import TARGETS, time_script
        from coeffdream.bench.subject import RANDOM

    chosen, config = _asked(
        base,
        resolution,
        batch_size,
        steps,
        rounds,
        rank,
        lora_targets,
        gradient_checkpointing,
        precision,
        device,
    )
    if script is not None and (chosen.name == RANDOM or lora_targets != TARGETS):
        raise ConfigError(f"--script needs a base with files of its own, and --lora-targets {TARGETS}")
    with ProgressDisplay() as progress:
        found = compare_training(_subject(chosen, config), config, rounds, progress)
        if script is not None:
            from coeffdream.data.shipped import concept_folder

            progress("bench train", 0, 1, script.name)
            step, process = time_script(script, chosen.source, concept_folder("cat"), config)
            ratio = step / found.contenders[0].median
            found.contenders.append(Contender(f"{script.name} ({process:.0f} s in all)", [step], None, ratio))
            progress("bench train", 1, 1, "")
    _tell(found, "step", as_json)


def generate(
    base: BaseOption = "toybox",
    resolution: Resolution = None,
    batch_size: Batch = 1,
    sampling_steps: Annotated[
        int | None, typer.Option(help="Of the scheduler.", show_default="the base's")
    ] = None,
    rounds: Rounds = 3,
    rank: Rank = 2,
    lora_targets: Targets = DEFAULT_TARGETS,
    precision: Precision = "auto",
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Time a picture of ours beside diffusers' pipeline with a LoRA, in turn.

    Example: coeffdream bench generate --base toybox
    """
    with loading("torch", "diffusers", "peft"):
        from coeffdream.bench.loops import compare_drawing

    chosen, config = _asked(
        base,
        resolution,
        batch_size,
        sampling_steps or 1,
        rounds,
        rank,
        lora_targets,
        False,
        precision,
        device,
    )
    settings = chosen.settings
    with ProgressDisplay() as progress:
        found = compare_drawing(
            _subject(chosen, config),
            config,
            sampling_steps or settings.sampling_steps,
            settings.guidance_scale,
            rounds,
            progress,
        )
    _tell(found, "picture", as_json)


def _asked(
    base: str,
    resolution: int | None,
    batch: int,
    steps: int,
    rounds: int,
    rank: int,
    targets: str,
    checkpointing: bool | None,
    precision: str,
    device: str,
) -> tuple[Any, TrainConfig]:
    """The base, and a config with nothing left to auto. Raises ConfigError."""
    from coeffdream.backbones.device import settled
    from coeffdream.bench.subject import find_subject
    from coeffdream.checked import ill_typed

    chosen = find_subject(base)
    own = chosen.settings
    values: dict[str, Any] = {
        "base": base,
        "resolution": own.resolution if resolution is None else resolution,
        "batch_size": batch,
        "steps": steps,
        "rank": rank,
        "lora_targets": targets,
        "gradient_checkpointing": own.gradient_checkpointing if checkpointing is None else checkpointing,
        "precision": precision,
        "device": device,
        "offload": "none",
        "sample_every": 0,
        "checkpoint_every": 0,
    }
    problems = [f"--{name.replace('_', '-')} {why}" for name, why in ill_typed(TrainConfig, values)]
    problems += out_of_range("--rounds", rounds, at_least=1, at_most=1000)
    if not problems:
        config = TrainConfig(**values)
        problems = config.problems()
    if problems:
        raise ConfigError(together("this cannot be timed", problems))
    return chosen, settled(config)


def _subject(chosen: Any, config: TrainConfig) -> Any:
    import torch

    from coeffdream.backbones.device import DTYPES
    from coeffdream.backbones.threads import settle_threads
    from coeffdream.bench.subject import make_subject

    made = make_subject(chosen, config.resolution, torch.device(config.device), DTYPES[config.precision])
    if made.components.device.type == "cpu":
        settle_threads(made.components.unet)
    return made


def _tell(found: Comparison, unit: str, as_json: bool) -> None:
    if as_json:
        show_json(dataclasses.asdict(found))
        return
    from coeffdream.tables import table

    made = table()
    made.add_column("")
    for heading in (f"s a {unit}", "x time", "peak memory", "x memory"):
        made.add_column(heading, justify="right", no_wrap=True)
    for contender in found.contenders:
        made.add_row(*_row(contender))
    show(made)
    say(
        f"{found.base} at {found.resolution}, batch {found.batch}, on {found.device} in {found.dtype}, "
        f"{found.threads} threads, torch {found.torch}; medians of {found.rounds} turns"
    )


def _row(contender: Contender) -> list[str]:
    memory = "" if contender.peak is None else f"{contender.peak / 2**20:,.0f} MiB"
    ratios = [contender.time_to_peer, contender.peak_to_peer]
    time_ratio, memory_ratio = ("" if each is None else f"{each:.2f}" for each in ratios)
    return [contender.name, f"{contender.median:.3g}", time_ratio, memory, memory_ratio]
