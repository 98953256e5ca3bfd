"""`coeffdream bench`: whole studies."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from coeffdream.cli.bench_attention import attention
from coeffdream.cli.bench_loops import generate, train
from coeffdream.cli.bench_status import status
from coeffdream.cli.help import Command
from coeffdream.cli.options import with_config_options
from coeffdream.cli.terminal import near, say, show, show_json
from coeffdream.config import Method
from coeffdream.errors import ConfigError, listed, quoted
from coeffdream.limits import out_of_range
from coeffdream.methods import method_problems
from coeffdream.records.study_plan import Study

if TYPE_CHECKING:
    from coeffdream.records.arms import Arms

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
        str | None,
        typer.Option(
            help="Comma-separated; coeff-lora is compared with lora, coeff-dora with dora, others with the first.",
            show_default="lora,coeff-lora, or all of --arms",
        ),
    ] = None,
    arms: Annotated[
        Path | None,
        typer.Option(
            help="TOML file with a table of training options for each arm of the study, e.g. [lora-rank-4]."
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            help="Cells at a time; on this machine each gets its share of the cores, or a card of its own.",
            show_default="1; with Ray, all that there is room for",
        ),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="Where cells run: on this machine, or on a Ray cluster.", metavar="<choice>"),
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            help="With --engine ray: the cluster's HOST:PORT.", show_default="the one on this machine"
        ),
    ] = None,
    per_card: Annotated[
        int | None, typer.Option(help="With --engine ray: cells that share a card.", show_default="1")
    ] = None,
    study: Annotated[Path, typer.Option(help="The study's folder; an unfinished one goes on.")] = Path(
        "study"
    ),
    store: Annotated[
        str | None,
        typer.Option(
            help="Where the study is kept that no disk is shared for: s3://BUCKET/STUDY, or what else fsspec reads; --study "
            "is then each machine's own.",
            show_default="--study, on a disk that all machines see",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Train, draw and score every method, or arm, on every concept, then compare them.

    Example: coeffdream bench concepts --base toybox --concepts concepts/* --methods lora,coeff-lora --seeds 3
    """
    from coeffdream.cli.cells import Where, folders_of, run_study
    from coeffdream.cli.next_step import tell_next
    from coeffdream.records.arms import read_arms
    from coeffdream.records.reading import read_text

    described = read_arms(arms) if arms else {}
    text = read_text(arms, error=ConfigError) if arms else None
    chosen = _chosen(methods, described)
    problems = out_of_range("--jobs", 1 if jobs is None else jobs, at_least=1, at_most=1000)
    problems += out_of_range("--per-card", 1 if per_card is None else per_card, at_least=1, at_most=64)
    if engine == "local" and (address is not None or per_card is not None):
        problems.append(f"{'--per-card' if address is None else '--address'} goes with --engine ray")
    if problems:
        raise ConfigError(problems[0])
    if store is not None:
        from coeffdream.bench.address import address_of

        store = address_of(store, study)
    described = {arm: described[arm] for arm in chosen if arm in described}
    plan = Study(folders_of([*(given or []), *(more or [])]), chosen, described, **typed)
    comparison = run_study(plan, study.resolve(), Where(engine, jobs, address, per_card or 1, store), text)
    from coeffdream.compare.comparison_table import comparison_table

    if as_json:
        show_json(dataclasses.asdict(comparison))
    else:
        show(comparison_table(comparison))
    say(f"every number: {near((study / 'comparison.json').resolve())}")
    tell_next("report", near(study.resolve()))


def _chosen(methods: str | None, arms: Arms) -> list[str]:
    """The names of the study's arms. Raises ConfigError for one that is none, and for less than two."""
    words = methods if methods is not None else ",".join(arms) if arms else "lora,coeff-lora"
    chosen = [word.strip() for word in words.split(",") if word.strip()]
    there = [*arms, *(method for method in get_args(Method) if method not in arms)]
    unknown = [word for word in chosen if word not in arms and method_problems(word, [])]
    if unknown or len(chosen) < 2:
        what = f"{listed(unknown)} is no method" if unknown else "a study compares at least two methods"
        raise ConfigError(
            f"--methods {quoted(words)}: {what}; there are {', '.join(there)}, and [coeff-] with full, bitfit or a "
            "method of PEFT's"
        )
    return chosen


app.command("attention", cls=Command)(attention)
app.command("status", cls=Command)(status)
app.command("train", cls=Command)(train)
app.command("generate", cls=Command)(generate)
