"""Command-line options made from a dataclass, so that help, type and default are written once."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Container
from typing import Annotated, Any, Literal, Optional, get_args, get_origin, get_type_hints

import typer

from coeffdream.config import flag_of
from coeffdream.option import default_of

RUN_HELP = "A run's name or folder, or hub:OWNER/NAME[@REVISION]."
RunArgument = Annotated[str | None, typer.Argument(help=RUN_HELP, show_default="the latest")]
RunOption = Annotated[str | None, typer.Option(help=RUN_HELP, show_default="the latest")]


def with_config_options(
    kind: type, only: Container[str] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the fields of `kind` that are an `option`, all or `only` these. It receives those that were
    typed as `typed`.

    An option that was not typed is absent rather than at its default, so that a config file, a preset
    or the base model can still set it.
    """
    hints = get_type_hints(kind)
    fields = {
        field.name: field
        for field in dataclasses.fields(kind)
        if "help" in field.metadata and (only is None or field.name in only)
    }

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        parameters = inspect.signature(command, eval_str=True).parameters.values()
        own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters if p.name != "typed"]
        made = [_parameter(field, hints[name], flag_of(name, kind)) for name, field in fields.items()]

        def run(**values: Any) -> None:
            typed = {name: values.pop(name) for name in fields}
            command(typed={name: value for name, value in typed.items() if value is not None}, **values)

        # Typer reads both; a function's type knows no signature of its own.
        run.__signature__ = inspect.Signature([*made, *own])  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in (*made, *own)}
        run.__doc__ = command.__doc__
        run.__name__ = command.__name__
        return run

    return decorate


def _parameter(field: dataclasses.Field[Any], hint: Any, flag: str) -> inspect.Parameter:
    inner = next((arg for arg in get_args(hint) if arg is not type(None)), hint) if _optional(hint) else hint
    opposed = inner is bool and not field.metadata["switch"]
    names = [f"{flag}/--no-{flag[2:]}"] if opposed else [flag]
    choices = get_args(inner) if get_origin(inner) is Literal else ()
    information = typer.Option(
        *names,
        help=field.metadata["help"] + _choices(choices) + _shown(field),
        metavar="<choice>" if choices else None,  # all of them would take the width of the names
        show_default=False,
        rich_help_panel=field.metadata["group"],
    )
    annotation: Any = Annotated[Optional[inner], information]  # noqa: UP045  (Python 3.10: no Literal | None)
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _choices(choices: tuple[str, ...]) -> str:
    return f" One of {', '.join(choices)}." if choices else ""


def _optional(hint: Any) -> bool:
    return type(None) in get_args(hint)


def _shown(field: dataclasses.Field[Any]) -> str:
    """The default as Typer would print it, had the option one of its own."""
    default = field.metadata["shown"] or default_of(field)
    if default in (None, "", []) or field.metadata["switch"]:
        return ""
    if isinstance(default, bool):
        default = "on" if default else "off"
    return rf" [dim]\[default: {default}][/dim]"
