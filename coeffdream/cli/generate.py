"""`coeffdream generate`: draw prompts, or the whole benchmark."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from coeffdream.cli.bases import BaseConfigOption, PredictionOption, RevisionOption, prepare, warn_of_hours
from coeffdream.cli.options import RunOption, with_config_options
from coeffdream.cli.plan import say_drawing_plan
from coeffdream.cli.runs import the_run
from coeffdream.cli.terminal import ProgressDisplay, loading, near, say, show_json, warn
from coeffdream.config import TrainConfig
from coeffdream.errors import ConfigError
from coeffdream.generation.request import GenerateRequest
from coeffdream.interop.choice import parse_lora, weighted


@with_config_options(GenerateRequest)
def command(
    typed: dict[str, Any],
    prompts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PROMPT]...", help='Such as "<V> cat in snow". None: the benchmark, 25 prompts x 4.'
        ),
    ] = None,
    run: RunOption = None,
    base: Annotated[str | None, typer.Option(help="Another base model.", show_default="the run's")] = None,
    base_config: BaseConfigOption = None,
    revision: RevisionOption = None,
    prediction: PredictionOption = None,
    lora: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE[:WEIGHT]",
            help="Draw with another tool's adapter: on top of --run, or alone with --class. May be repeated.",
        ),
    ] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RUN[:WEIGHT]",
            help="Draw with several runs together, <V1> the first of them: one --adapter for each.",
        ),
    ] = None,
    grid: Annotated[bool, typer.Option(help="Make a contact sheet.")] = True,
    class_noun: Annotated[
        str | None, typer.Option("--class", help="The class noun, for --no-adapter or --lora without a run.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Where run folders are kept.")] = Path("runs"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be drawn; write nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Draw images with what a run has learned.

    Example: coeffdream generate "<V> cat in snow"
    """
    from coeffdream.backbones.base import base_asked, base_of

    named = {"base_config": base_config, "revision": revision, "prediction": prediction}
    read = {name: value for name, value in named.items() if value is not None}
    loras = tuple(parse_lora(each) for each in lora or ())
    chosen = [weighted("--adapter", "RUN", each) for each in adapter or ()]
    if chosen and run is not None:
        raise ConfigError(
            "--adapter names the runs to draw with; leave out --run, or name that run with --adapter"
        )
    if len(chosen) == 1:  # a run like any other, more or less of it
        [(run, weight)], chosen = chosen, []
        typed = {**typed, **{name: weight * typed.get(name, 1.0) for name in ("lora_scale", "alpha_scale")}}
    weights = tuple(weight for _, weight in chosen)
    request = GenerateRequest(prompts=tuple(prompts or ()), loras=loras, weights=weights, **typed)
    request.check()
    if loras and run is None and not chosen:
        if class_noun is None:
            raise ConfigError(
                "--lora needs to know what to draw: --run NAME draws with it on top of a run, --class NOUN draws with "
                "it alone, and coeffdream import makes a run of it"
            )
        request = dataclasses.replace(request, no_adapter=True)
        base = base or TrainConfig.base
    if request.no_adapter and run is None and not chosen and base is not None:
        if class_noun is None:
            raise ConfigError(
                "--no-adapter with --base and no --run needs --class, the noun that CLASS stands for"
            )
        from coeffdream.generation.base_run import base_run

        chosen_base = base_asked({"base": base, **read})
        folder, record = base_run(chosen_base, class_noun, "sks", runs)
    else:
        if class_noun is not None:
            raise ConfigError(
                "--class goes with --no-adapter --base, or --lora; a run has its own class noun"
            )
        if chosen:
            from coeffdream.generation.several import run_of_several

            folder, record = run_of_several([the_run(name, runs) for name, _ in chosen], runs, warn)
        else:
            folder = the_run(run, runs)
            record = folder.read()
        chosen_base = base_asked({"base": base, **read}) if base else base_of(record.base, **read)
    if dry_run:
        say_drawing_plan(request, record, chosen_base, as_json)
        return
    with loading("torch", "diffusers"):
        from coeffdream.backbones.processes import processes
        from coeffdream.cli.next_step import tell_next_of_pictures
        from coeffdream.generation.run import generate, generate_beside_base

    warn_of_hours(chosen_base, request.device)
    prepare(chosen_base, request.precision, request.device)
    with ProgressDisplay() as progress:
        draw: dict[str, Any] = {"grid": grid, "progress": progress, "warn": warn}
        if request.beside_base:
            sets = list(generate_beside_base(request, folder, record, chosen_base, **draw))
        else:
            sets = [generate(request, folder, record, chosen_base, **draw)]
    if not processes().first:
        return
    nouns = [part.class_noun for part in record.parts] or [record.class_noun]
    left_out = request.left_out(nouns, toybox=chosen_base.is_toybox)
    if as_json:
        shown = [
            {
                "run": str(made.folder.path.parents[1]),
                "set": str(made.folder.path),
                "images": made.count,
                "already_there": made.already_there,
                "shared": made.shared,
                "sheet": str(made.folder.contact_sheet) if grid else None,
            }
            for made in sets
        ]
        show_json(
            {**shown[0], "base_set": shown[1], "left_out": left_out} if request.beside_base else shown[0]
        )
        return
    for made in sets:
        counts = {"already there": made.already_there, "drawn for a run beside this one": made.shared}
        kept = "; ".join(f"{count} were {how}" for how, count in counts.items() if count)
        say(f"{made.count} images{f' ({kept})' if kept else ''} in {near(made.folder.path)}")
        if grid and made.folder.contact_sheet.exists():
            say(f"contact sheet: {near(made.folder.contact_sheet)}")
    if left_out:
        say(f"left out, because they name the class {' or '.join(map(repr, nouns))}: {'; '.join(left_out)}")
    tell_next_of_pictures(folder, record)
