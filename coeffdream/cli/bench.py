"""`coeffdream bench`: whole studies."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from coeffdream.cli.bench_attention import attention
from coeffdream.cli.help import Command
from coeffdream.cli.options import with_config_options
from coeffdream.cli.terminal import ProgressDisplay, doing, last_progress, loading, near, say, show, show_json
from coeffdream.config import Method
from coeffdream.errors import ConfigError, counted, listed, quoted
from coeffdream.limits import out_of_range
from coeffdream.records.study_plan import Study

app = typer.Typer(help="Run whole studies, and time the mixed attention.")


@app.callback()
def _group() -> None: ...


@app.command("concepts", cls=Command)
@with_config_options(Study)
def concepts(
    typed: dict[str, Any],
    more: Annotated[
        list[str] | None, typer.Argument(metavar="[CONCEPT]...", help="Further concepts.")
    ] = None,
    given: Annotated[
        list[str] | None, typer.Option("--concepts", help="Folders of photos, such as concepts/*.")
    ] = None,
    methods: Annotated[
        str,
        typer.Option(
            help="Comma-separated; coeff-lora is compared with lora, coeff-dora with dora, others with the first."
        ),
    ] = "lora,coeff-lora",
    jobs: Annotated[int, typer.Option(help="Cells at a time; each gets its share of the cores.")] = 1,
    study: Annotated[Path, typer.Option(help="The study's folder; an unfinished one goes on.")] = Path(
        "study"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Train, draw and score every method on every concept, then compare the methods.

    Example: coeffdream bench concepts --base toybox --concepts concepts/* --methods lora,coeff-lora --seeds 3
    """
    from coeffdream.cli.next_step import tell_next
    from coeffdream.cli.workers import Workers
    from coeffdream.data.concept import load_concept
    from coeffdream.data.shipped import concept_folder
    from coeffdream.records.files import write_json
    from coeffdream.records.study import StudyFolder

    chosen = [method.strip() for method in methods.split(",") if method.strip()]
    unknown = [method for method in chosen if method not in get_args(Method)]
    if unknown or len(chosen) < 2:
        what = f"{listed(unknown)} is no method" if unknown else "a study compares at least two methods"
        raise ConfigError(f"--methods {quoted(methods)}: {what}; there are {', '.join(get_args(Method))}")
    if problems := out_of_range("--jobs", jobs, at_least=1, at_most=1000):
        raise ConfigError(problems[0])
    folders = [concept_folder(name).resolve() for name in [*(given or []), *(more or [])]]
    with doing(f"reading the photos of {counted(len(folders), 'concept')}"):
        for folder in folders:
            load_concept(folder)  # every concept is read before the first hour is spent
    with loading("torch", "scipy"):
        from coeffdream.bench.concepts import open_study, run_cells
        from coeffdream.compare.comparison import compare
        from coeffdream.compare.comparison_table import comparison_table
        from coeffdream.compare.pairing import pair_by_method
        from coeffdream.compare.scored import load_runs

    plan = Study([str(folder) for folder in folders], chosen, **typed)
    workers = Workers(plan.device)
    with open_study(study, plan) as todo:
        say(f"{len(plan.cells)} cells, {len(todo)} to do; logs in {near((study / 'logs').resolve())}")
        if todo:
            with ProgressDisplay() as progress:
                run_cells(study, plan, todo, jobs, workers, progress, stop=workers.stop, told=last_progress)
        cells = load_runs([str(StudyFolder(study).run(cell).path) for cell in plan.cells], study)
        comparison = compare(pair_by_method(cells, [cell.concept for cell in cells]))
        write_json(study / "comparison.json", dataclasses.asdict(comparison))
    if as_json:
        show_json(dataclasses.asdict(comparison))
    else:
        show(comparison_table(comparison))
    say(f"every number: {near((study / 'comparison.json').resolve())}")
    tell_next("report", near(study.resolve()))


app.command("attention", cls=Command)(attention)
