"""`coeffdream export`: a run in the form that another tool loads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from coeffdream.cli.bases import prepare
from coeffdream.cli.options import RunArgument
from coeffdream.cli.runs import the_run
from coeffdream.cli.terminal import ProgressDisplay, loading, near, say, show_json, warn


def command(
    run: RunArgument = None,
    form: Annotated[
        Literal["comfyui", "diffusers", "merged"],
        typer.Option(
            "--format",
            help="comfyui: also A1111, Forge, SD.Next, InvokeAI, kohya. merged: a copy of the base with it inside.",
        ),
    ] = "comfyui",
    as_lora: Annotated[
        int | None,
        typer.Option(metavar="RANK", help="The nearest plain LoRA of this rank, and how near it is."),
    ] = None,
    approximate_alpha: Annotated[
        int | None,
        typer.Option(
            metavar="RANK",
            help="Alpha too, as nearly as a LoRA of this rank on to_out can, and how near that is.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write the approximation however far it is.")
    ] = False,
    without_alpha: Annotated[
        bool, typer.Option("--without-alpha", help="Merge a run that mixes heads, without its head mixing.")
    ] = False,
    precision: Annotated[str, typer.Option(help="Of a merged base: fp32, bf16 or fp16.")] = "fp32",
    base: Annotated[str | None, typer.Option(help="Another base model.", show_default="the run's")] = None,
    output: Annotated[
        Path | None, typer.Option(help="File or folder to write.", show_default="in the run's export/")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Where run folders are kept.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write a run in the form that another tool loads, or merge it into a copy of its base.

    Example: coeffdream export my_cat-dora --as-lora 8
    """
    from coeffdream.backbones.base import base_of, find_base

    folder = the_run(run, runs)
    record = folder.read()
    with loading("torch"):
        from coeffdream.sharing.export import ExportRequest, export

    request = ExportRequest(form, as_lora, approximate_alpha, force, without_alpha, precision, output)
    request.check(record)
    chosen = find_base(base) if base else base_of(record.base)
    prepare(chosen, "fp32", "cpu")
    with ProgressDisplay() as progress:
        made = export(request, folder, record, chosen, progress=progress, warn=warn)
    if as_json:
        errors = made.errors if made.approximation is None else made.approximation.errors
        show_json({"run": str(folder.path), "path": str(made.path), "lost": made.lost, "errors": errors})
        return
    if made.approximation is not None:
        for layer, error in made.approximation.errors.items():
            say(f"  {100 * error:5.1f} % of what alpha does is missing in {layer}")
    if made.errors:
        worst = max(made.errors, key=lambda path: made.errors[path])
        mean = sum(made.errors.values()) / len(made.errors)
        say(
            f"nearest LoRA of rank {as_lora}: {100 * mean:.1f} % of the change is missing on average, "
            f"{100 * made.errors[worst]:.1f} % in {worst}"
        )
    if made.lost:
        warn(made.lost)
    say(f"written: {near(made.path)}")
