"""`coeffdream eval`: score a set of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coeffdream.cli.options import RunArgument, with_config_options
from coeffdream.cli.runs import the_run
from coeffdream.cli.terminal import ProgressDisplay, loading, near, say, show, show_json, warn
from coeffdream.config import TrainConfig
from coeffdream.errors import ConfigError, quoted
from coeffdream.metrics.options import ScoringOptions

if TYPE_CHECKING:
    from coeffdream.records.run import RunFolder
    from coeffdream.records.scores import ScoresRecord


@with_config_options(ScoringOptions)
def command(
    typed: dict[str, Any],
    run: RunArgument = None,
    run_option: Annotated[str | None, typer.Option("--run", hidden=True)] = None,
    set_name: Annotated[
        str | None, typer.Option("--set", help="Which set.", show_default="the newest benchmark")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Score a bare folder of images from any other tool.")
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(help="With --images: a CSV with columns file and prompt; else one subfolder a prompt."),
    ] = None,
    references: Annotated[
        Path | None, typer.Option(help="The concept's photos, if they moved (or with --images).")
    ] = None,
    class_noun: Annotated[str | None, typer.Option("--class", help="With --images: the class noun.")] = None,
    token: Annotated[
        str | None,
        typer.Option(help="With --images: the identifier, for --score-text token.", show_default="sks"),
    ] = None,
    base: Annotated[str, typer.Option(help="With --images: toybox chooses the embedded scorers.")] = "",
    output: Annotated[Path | None, typer.Option(help="With --images: where scores.json goes.")] = None,
    runs: Annotated[Path, typer.Option(help="Where run folders are kept.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
) -> None:
    """Score text alignment, concept alignment and diversity of a set of images.

    Example: coeffdream eval my_cat-coeff-lora
    """
    foreign = {
        "--prompts": prompts,
        "--class": class_noun,
        "--token": token,
        "--base": base or None,
        "--output": output,
    }
    if images is None and (given := [flag for flag, value in foreign.items() if value is not None]):
        raise ConfigError(f"{', '.join(given)} goes with --images FOLDER; a run knows its own")
    if run is not None and run_option is not None:
        raise ConfigError(f"name one run: {quoted(run)} or --run {quoted(run_option)}")
    run = run or run_option
    options = ScoringOptions(**typed)
    options.check()

    from coeffdream.records.commands import command_line, name_of
    from coeffdream.records.fields import record_to_json

    folder = None if images is not None else the_run(run, runs)

    with loading("torch"):
        from coeffdream.backbones.processes import processes
        from coeffdream.metrics.evaluate import evaluate_folder, evaluate_run
        from coeffdream.metrics.registry import chosen
        from coeffdream.metrics.scores_table import scores_table

    with ProgressDisplay() as progress:
        if folder is not None:
            record = evaluate_run(
                folder, set_name=set_name, references=references, options=options, on_progress=progress
            )
        else:
            assert images is not None
            record = evaluate_folder(
                images,
                prompts=prompts,
                references=references,
                class_noun=class_noun,
                token=token or TrainConfig.token,
                base=base,
                output=output,
                options=options,
                on_progress=progress,
            )
    if not processes().first:
        return
    for warning in record.warnings:
        warn(warning)
    if folder is not None:
        _log(folder, record)
    if (
        record.drift is None
        and any(score.name == "drift" for score in chosen(options.scores))
        and record.set.adapter
        and record.set.kind == "benchmark"
    ):
        assert folder is not None
        line = command_line("generate", "--run", name_of(folder), "--unrelated")
        say(f"drift is absent; draw for it: {line}, then eval again")
    if as_json:
        show_json(record_to_json(record))
        return
    show(scores_table(record))
    if folder is not None:
        from coeffdream.cli.next_step import tell_report

        say(f"per image and per prompt: {near(folder.path / 'images' / record.set.name / 'scores.json')}")
        tell_report(folder)


def _log(run: RunFolder, scores: ScoresRecord) -> None:
    """To where the training was logged; only of the set that stands for the run."""
    from coeffdream.records.images import find_set
    from coeffdream.tracking import logging_to

    record = run.read()
    tracker = record.config.log_with
    if tracker == "none" or scores.set.name != find_set(run.images, None).path.name:
        return
    try:
        with logging_to(tracker, run, record, warn) as log:
            log.scores(scores, record.steps_done)
    except ConfigError as error:
        warn(f"the scores are not logged: {error}")
