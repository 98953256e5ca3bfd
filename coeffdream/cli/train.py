"""`coeffdream train`: learn one thing from a folder of photos."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import filesize

from coeffdream.cli.bases import prepare, warn_of_hours
from coeffdream.cli.config import ConfigOption, layered
from coeffdream.cli.elsewhere import tell_where_files_go
from coeffdream.cli.methods import check_methods
from coeffdream.cli.options import with_config_options
from coeffdream.cli.plan import fitted, say_pictures, say_plan
from coeffdream.cli.terminal import ProgressDisplay, doing, loading, near, say, show_json, warn
from coeffdream.config import TrainConfig, flag_of
from coeffdream.errors import ConfigError, counted, listed
from coeffdream.resolve import Resolved, resolve
from coeffdream.stopping import status_of

if TYPE_CHECKING:
    from coeffdream.backbones.base import Base
    from coeffdream.data.concept import Concept
    from coeffdream.records.run import RunFolder, RunRecord


@with_config_options(TrainConfig)
def command(
    typed: dict[str, Any],
    config: ConfigOption = None,
    resume: Annotated[
        str | None, typer.Option("--resume", help="Go on with this run, exactly.", rich_help_panel="Output")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what would be done; write nothing.", rich_help_panel="Output"),
    ] = False,
    fit: Annotated[
        float | None,
        typer.Option(
            "--fit",
            metavar="GB",
            help="Choose what fits into a device of so much memory, and say what it costs.",
            rich_help_panel="Training",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON.", rich_help_panel="Output")
    ] = False,
) -> None:
    """Learn one thing from a folder of photos.

    Example: coeffdream train --concept my_cat
    """
    from coeffdream.backbones.base import base_asked
    from coeffdream.data.concept import load_concept
    from coeffdream.data.holdout import to_train_on
    from coeffdream.data.shipped import concept_folder
    from coeffdream.records.latest import in_the_way
    from coeffdream.records.run import find_run

    run = None
    if resume is not None:
        run = find_run(resume, Path(typed.get("runs", TrainConfig.runs)))
        for given, option in ((config, "--config"), (fit, "--fit")):
            if given is not None:
                raise ConfigError(f"--resume takes its options from the run; leave {option} out")
        resolved = _resumed(run.read(), typed)
    else:
        resolved = layered(typed, config)
    chosen = resolved.config
    if not chosen.concept:
        raise ConfigError("no concept to learn: give --concept FOLDER with a few photos of it")
    check_methods([chosen])
    base = base_asked(vars(chosen))
    with doing(f"reading the photos in {chosen.concept}"):
        concept = load_concept(
            concept_folder(chosen.concept), class_noun=chosen.class_noun, caption_template=chosen.caption
        )
    concept = to_train_on(concept, chosen)
    _describe(resolved, concept)
    if obstacle := in_the_way(run.path.parent if run else Path(chosen.runs)):
        warn(obstacle)
    if dry_run:
        say_plan(resolved, base, fit, as_json)
        return
    if fit is not None:
        chosen = fitted(resolved, base, fit).config
    _train(chosen, base, concept, run, as_json)


def _train(config: TrainConfig, base: Base, concept: Concept, run: RunFolder | None, as_json: bool) -> None:
    from coeffdream.cli.next_step import tell_next
    from coeffdream.records.commands import of_run, resume_command
    from coeffdream.records.files import read_jsonl

    with loading("torch", "diffusers"):
        from coeffdream.backbones.processes import processes
        from coeffdream.report.live import LivePage
        from coeffdream.training.forecast import passes
        from coeffdream.training.run import resume, train

    if not processes().first:
        from coeffdream.training.help import help_train

        raise typer.Exit(0 if help_train(config, concept, base, run) else status_of())
    _tell_of_more_cards(config)
    warn_of_hours(base, config.device)
    prepare(base, config.precision, config.device)
    say_pictures(passes(config, base.settings.sampling_steps))
    page = LivePage(_memory, lambda file: say(f"watch it: {near(file)} (refreshes itself in a browser)"))
    with ProgressDisplay() as progress:
        if run is None:
            run, finished = train(config, concept, base, progress, warn, page)
        else:
            finished = resume(run, config, concept, base, progress, warn, page)
    record = run.read()
    if not finished:
        say(f"stopped after {record.steps_done} of {config.steps} steps; go on with: {resume_command(run)}")
        raise typer.Exit(status_of())
    losses = [row["loss"] for row in read_jsonl(run.log)]
    tail = losses[-min(50, len(losses)) :]
    result = {
        "run": str(run.path),
        "method": record.method,
        "steps": record.steps_done,
        "trained": record.parameters.trained,
        "percent": record.parameters.percent,
        "loss": sum(tail) / len(tail),
        "adapter_bytes": sum(file.stat().st_size for file in run.adapter.iterdir()),
    }
    if as_json:
        show_json(result)
        return
    kept = "adapter" if record.config.ema is None else "adapter (the average of --ema)"
    say(
        f"trained {record.name}: {record.parameters.trained:,} parameters, {record.parameters.percent:.4f} % of "
        f"the UNet; {kept} {filesize.decimal(result['adapter_bytes'])} in {near(run.adapter)}"
    )
    if run.samples.exists():
        say(f"pictures along the way: {near(run.samples)}")
    tell_where_files_go(run, record)
    tell_next("generate", *of_run(run), f"<V> {record.class_noun} in snow")


def _tell_of_more_cards(config: TrainConfig) -> None:
    """One process trains on one card; how all of them would train one run."""
    import torch

    from coeffdream.backbones.processes import processes

    cards = torch.cuda.device_count()
    if cards < 2 or processes().count > 1 or config.device not in ("auto", "cuda"):
        return
    batch = -(-config.batch_size // cards) * cards
    say(
        f"one of {cards} cards is used; all of them train one run with: accelerate launch --multi_gpu --num_processes "
        f"{cards} -m coeffdream train ... --batch-size {batch} (of all cards together)"
    )


def _memory() -> str:
    """What this process takes, for the page of the run."""
    import psutil
    import torch

    if torch.cuda.is_initialized():
        most = sum(map(torch.cuda.max_memory_allocated, range(torch.cuda.device_count())))
        return f"{filesize.decimal(most)} of GPU memory at most"
    return f"{filesize.decimal(psutil.Process().memory_info().rss)} of memory"


def _describe(resolved: Resolved, concept: Concept) -> None:
    from coeffdream.data.buckets import training_size

    config = resolved.config
    say(
        f"{concept.name}: {counted(len(concept.images), 'photo')} of a {concept.class_noun} (class from {concept.class_source}); "
        f"<V> is {config.token!r}; captions like {concept.images[0].caption!r}"
    )
    if concept.held_out:
        names = listed([image.path.name for image in concept.held_out])
        say(f"held out, to score against: {names}; {counted(len(concept.learned), 'photo')} to learn from")
    for warning in concept.warnings:
        warn(warning)
    if config.buckets:
        sizes = (
            training_size(each.width, each.height, config.resolution, buckets=True) for each in concept.images
        )
        told = (f"{counted(n, 'photo')} at {wide} x {high}" for (wide, high), n in Counter(sizes).items())
        say(f"cut to buckets: {', '.join(told)}")
    small = concept.smaller_than(config.resolution, buckets=config.buckets)
    if small:
        size = "their bucket" if config.buckets else f"{config.resolution} pixels"
        warn(f"{len(small)} of {len(concept.images)} photos are smaller than {size} and will be enlarged")
    for origin in dict.fromkeys(resolved.origins.values()):
        if origin != "command line":
            settings = [
                f"{flag_of(name)} {getattr(config, name)}"
                for name, by in resolved.origins.items()
                if by == origin
            ]
            who = f"the base {config.base}" if origin == "base" else origin
            say(f"from {who}: {', '.join(settings)}")


def _resumed(record: RunRecord, typed: dict[str, Any]) -> Resolved:
    """The run's own config with what was typed laid over it; `resume` refuses what may not change."""
    from coeffdream.backbones.device import here_or_auto

    kept = {name: value for name, value in vars(record.config).items() if value is not None}
    kept["device"] = here_or_auto(record.config.device)
    if kept["device"] != record.config.device and "device" not in typed:
        warn(
            f"{record.name} was trained on {record.config.device}, which is not here; it goes on on another device"
        )
    if record.concept:
        kept["concept"] = record.concept.folder  # as it was typed it may have been relative to elsewhere
    return Resolved(resolve({**kept, **typed}).config, dict.fromkeys(kept, "command line"))
