"""`coeffdream import`: an adapter of another tool as a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coeffdream.cli.bases import BaseConfigOption, PredictionOption, RevisionOption, prepare
from coeffdream.cli.terminal import ProgressDisplay, doing, loading, near, say, show_json


def command(
    file: Annotated[
        Path, typer.Argument(help="A .safetensors adapter of diffusers, PEFT, kohya, OneTrainer, ...")
    ],
    concept: Annotated[str, typer.Option(help="Folder with photos of what it learned; scores need them.")],
    base: Annotated[str, typer.Option(help="The base model it was trained on.")] = "sdxl",
    base_config: BaseConfigOption = None,
    revision: RevisionOption = None,
    prediction: PredictionOption = None,
    class_noun: Annotated[
        str | None, typer.Option("--class", help="What kind of thing it is.", show_default="as in train")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(help="What <V> becomes in prompts.", show_default="the file's trigger, else sks"),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the run.", show_default="concept and file")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Where run folders are kept.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Make a run of an adapter that another tool trained: then generate, eval, compare and report take it as any other.

    Example: coeffdream import peer.safetensors --concept my_cat
    """
    from coeffdream.backbones.base import find_base
    from coeffdream.cli.next_step import tell_next
    from coeffdream.data.concept import load_concept
    from coeffdream.data.shipped import concept_folder
    from coeffdream.records.commands import of_run
    from coeffdream.records.run import IMPORTED

    with doing(f"reading {concept}"):
        photos = load_concept(concept_folder(concept), class_noun=class_noun)
    with loading("torch", "diffusers"):
        from coeffdream.sharing.importing import import_adapter

    chosen = find_base(base, revision=revision, base_config=base_config, prediction=prediction or "auto")
    prepare(chosen, "fp32", "cpu")
    with ProgressDisplay() as progress:
        run = import_adapter(file, photos, chosen, token=token, name=name, runs=runs, progress=progress)
    record = run.read()
    if as_json:
        show_json({"run": str(run.path), "method": record.method, "parameters": record.parameters.trained})
        return
    say(
        f"imported {record.name}: {record.method.removeprefix(IMPORTED)} on {record.parameters.lora_modules} "
        f"modules, {record.parameters.trained:,} parameters; <V> is {record.token!r}; in {near(run.path)}"
    )
    tell_next("generate", *of_run(run))
