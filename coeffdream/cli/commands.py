"""Every command by its name; a command is made of its options when it is called, so that --help need not make them all."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator, Mapping
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from coeffdream.cli.help import Command

# Where it lies in coeffdream.cli, and the first line of its help.
COMMANDS = {
    "demo": (
        "demo",
        "See it all in minutes: train, draw, score and report with the miniature of SDXL that comes along.",
    ),
    "train": ("train", "Learn one thing from a folder of photos."),
    "mask": (
        "mask",
        "Mark the thing in each photo: NAME.mask.png beside it, made by a model that finds what a word names.",
    ),
    "generate": ("generate", "Draw images with what a run has learned."),
    "eval": ("evaluate", "Score text alignment, concept alignment and diversity of a set of images."),
    "sweep": (
        "sweep",
        "Draw and score every checkpoint of a run on a few prompts, and say when it should have stopped.",
    ),
    "export": (
        "export",
        "Write a run in the form that another tool loads, or merge it into a copy of its base.",
    ),
    "import": (
        "import_adapter",
        "Make a run of an adapter that another tool trained: then generate, eval, compare and report take it as any other.",
    ),
    "push": (
        "push",
        "Publish a run on the Hugging Face hub: adapter, record, and a card with pictures, scores and how to load it.",
    ),
    "compare": (
        "compare",
        "Compare scored runs on the same prompts and seeds, with 95 % intervals and a test.",
    ),
    "params": (
        "params",
        "Count the trained parameters of methods on a base's architecture, without its weights.",
    ),
    "inspect": (
        "inspect",
        "Show the learned head-mixing of a run, layer by layer, and draw it as a heatmap.",
    ),
    "report": (
        "report",
        "Write one HTML page: of a run its scores, pictures, loss, coefficients and settings; of a study its finding.",
    ),
    "doctor": (
        "doctor",
        "Say what machine, device, versions, caches and base models were found, and what is missing.",
    ),
    "bench": ("bench", "Run whole studies, and time the mixed attention."),
    "study": ("study", "Repeat the paper's own experiments."),
    "config": ("config", "Look at the options of a training."),
}


class Commands(Mapping[str, Any]):
    """The commands by name. Each is imported and made when it is asked for."""

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)

    def __contains__(self, name: object) -> bool:
        return name in COMMANDS

    def __getitem__(self, name: str) -> Any:
        if name not in COMMANDS:
            raise KeyError(name)
        return _made(name)


@functools.cache
def _made(name: str) -> Any:
    module = importlib.import_module(f"coeffdream.cli.{COMMANDS[name][0]}")
    app = getattr(module, "app", None)  # a group of commands
    if app is None:
        app = typer.Typer(add_completion=False, rich_markup_mode="rich")
        app.command(name, cls=Command)(module.command)
    made = typer.main.get_command(app)
    made.name = name
    return made


class Group(TyperGroup):
    """The whole of the command line."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands: Any = Commands()

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The names and the first lines, of which no command need be made."""
        rows = [TyperCommand(name, help=summary) for name, (_, summary) in COMMANDS.items()]
        page = TyperGroup(
            name=self.name,
            help=self.help,
            params=self.params,
            commands=rows,
            rich_markup_mode=self.rich_markup_mode,
        )
        page.format_help(ctx, formatter)
