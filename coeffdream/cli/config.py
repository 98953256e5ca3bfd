"""`coeffdream config`: the options of a training, and who set each of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from coeffdream.cli.encoding import printable
from coeffdream.cli.help import Command
from coeffdream.cli.options import with_config_options
from coeffdream.cli.terminal import show, show_json
from coeffdream.config import TrainConfig, flag_of
from coeffdream.errors import ConfigError
from coeffdream.resolve import Resolved, resolve

app = typer.Typer(help="Look at the options of a training.")

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="TOML file with any of these options.", rich_help_panel="Output"),
]


@app.callback()
def _group() -> None: ...


@app.command("show", cls=Command)
@with_config_options(TrainConfig)
def config_show(
    typed: dict[str, Any],
    config: ConfigOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON.", rich_help_panel="Output")
    ] = False,
) -> None:
    """Print every option as `train` would have it, and where it came from; nothing is loaded.

    Example: coeffdream config show --base toybox --preset quality
    """
    resolved = layered(typed, config)
    settings = {
        field.name: (getattr(resolved.config, field.name), resolved.origins.get(field.name, "default"))
        for field in dataclasses.fields(TrainConfig)
    }
    if as_json:
        show_json({name: {"value": value, "from": origin} for name, (value, origin) in settings.items()})
        return

    from coeffdream.tables import table

    shown = table(f"a training on the base {resolved.config.base}")
    for column in ("option", "value", "from"):
        shown.add_column(column, no_wrap=column == "option")
    for name, (value, origin) in settings.items():
        shown.add_row(flag_of(name), _said(value), origin)
    show(shown)


def layered(typed: Mapping[str, Any], config: Path | None) -> Resolved:
    """What was typed over what the file `config` says, the preset, what the base recommends and the defaults.

    Raises ConfigError, BaseModelError.
    """
    from coeffdream.backbones.base import base_asked
    from coeffdream.records.settings import read_toml

    file = (
        read_toml(config, ConfigError, "write for example: steps = 300", option="--config") if config else {}
    )
    asked = {**{key.replace("-", "_"): value for key, value in file.items()}, **typed}
    return resolve(typed, file, base_asked(asked).settings.training)


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "" if value is None else escape(printable(str(value)))
