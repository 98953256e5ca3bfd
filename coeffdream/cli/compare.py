"""`coeffdream compare`: say whether one run, or one method, beats another."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import typer

from coeffdream.cli.terminal import doing, loading, near, say, show, show_json
from coeffdream.errors import ConfigError, counted, together
from coeffdream.limits import MOST, out_of_range


def command(
    run: Annotated[list[str], typer.Argument(help="Names or folders of runs, in any order.")],
    by: Annotated[
        Literal["run", "method"],
        typer.Option(
            help="What is compared; method: over concepts and training seeds, coeff-lora with lora and "
            "coeff-dora with dora, or the arms of the study that the runs are of."
        ),
    ] = "run",
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="The run that the others are compared with.",
            show_default="lora before coeff-lora, then by name",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the resampling.")] = 0,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples.")] = 2000,
    runs: Annotated[Path, typer.Option(help="Where run folders are kept.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    csv: Annotated[Path | None, typer.Option(help="Also write every number to this CSV file.")] = None,
    latex: Annotated[Path | None, typer.Option(help="Also write the table to this LaTeX file.")] = None,
) -> None:
    """Compare scored runs on the same prompts and seeds, with 95 % intervals and a test.

    Example: coeffdream compare cat-lora cat-coeff-lora
    """
    problems = []
    if seed < 0:
        problems.append(f"--seed {seed} must not be negative")
    if resamples < 100:
        problems.append(f"--resamples {resamples} must be at least 100 for a 95 % interval")
    problems += out_of_range("--resamples", resamples, at_most=1_000_000)
    problems += out_of_range("--seed", seed, at_most=MOST["seed"])
    if baseline is not None and by == "method":
        problems.append("--baseline goes with runs; of methods it is the low-rank twin")
    if problems:
        raise ConfigError(together("these options make no comparison", problems))

    with loading("numpy", "scipy"):
        from coeffdream.compare.comparison import compare
        from coeffdream.compare.comparison_table import comparison_table
        from coeffdream.compare.export import to_csv, to_latex
        from coeffdream.compare.pairing import pair_by_arm, pair_runs
        from coeffdream.compare.scored import load_runs
        from coeffdream.records.files import write_text

    with doing(f"comparing {counted(len(run), 'run')}"):
        given = load_runs(run, runs)
        pairing = pair_by_arm(given) if by == "method" else pair_runs(given, baseline)
        comparison = compare(pairing, seed=seed, resamples=resamples)
    for file, text in ((csv, to_csv), (latex, to_latex)):
        if file is not None:
            write_text(file, text(comparison))
    if as_json:
        show_json(dataclasses.asdict(comparison))
    else:
        show(comparison_table(comparison))
    for file in (csv, latex):
        if file is not None:
            say(f"written: {near(file)}")
