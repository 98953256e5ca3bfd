"""The command line: one Typer app, and one place where errors become a line and an exit status."""

from __future__ import annotations

import os
import re
import sys
import traceback
from typing import Annotated, Any

import typer

from coeffdream import __version__, stopping
from coeffdream.cli.commands import Group
from coeffdream.cli.encoding import printable, use_any_encoding
from coeffdream.cli.endings import ending
from coeffdream.cli.near_misses import suggestion
from coeffdream.cli.one_of_several import is_silent, take_part, which_process
from coeffdream.errors import MOST_QUOTED, ConfigError, quoted

DEBUG = "--debug"
_LONG_QUOTE = re.compile(rf"('[^']{{{MOST_QUOTED}}})[^']*'")  # Typer quotes the whole of what was typed

# Typer carries a copy of click of its own, so click's own class would not catch it.
USAGE_ERROR: Any = typer.BadParameter.__base__

app = typer.Typer(
    name="coeffdream",
    cls=Group,
    help="Teach SDXL one thing from a few photos with Coeff-Tuning, draw it, and measure how well that worked.",
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"coeffdream {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    debug: Annotated[
        bool, typer.Option(DEBUG, help="Show the traceback of an error; anywhere on the line.")
    ] = False,
) -> None: ...


def main() -> None:
    """Run the command line. Exit status 0 done, 2 a request that cannot be served, 130 or 143 stopped, 1 else."""
    arguments = [argument for argument in sys.argv[1:] if argument != DEBUG]
    debug = len(arguments) < len(sys.argv) - 1
    # The libraries' own bars would tear through ours.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # A thread that waits by spinning takes the core that the one it waits for needs: beside other work forty times
    # slower. OpenMP reads this when torch is imported.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    command = typer.main.get_command(app)
    if "_COEFFDREAM_COMPLETE" in os.environ:  # a shell asks what may follow
        command(prog_name="coeffdream")
    use_any_encoding()
    try:
        _check_text(arguments)
        take_part(arguments)
        # Not command(): Typer's own main would swallow Ctrl-C without a word.
        with stopping.heard(), command.make_context("coeffdream", arguments or ["--help"]) as context:
            command.invoke(context)
        sys.exit(0)
    except typer.Exit as ended:
        sys.exit(ended.exit_code)
    except USAGE_ERROR as error:
        _fail(_one_line(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort) as stop:
        status = stopping.status_of(stop)
        _fail(stopping.line_of(status), status)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        if debug:
            traceback.print_exc()
        _fail(*ending(error))


def _check_text(arguments: list[str]) -> None:
    """Raises ConfigError for words that are not text: they could be neither recorded nor printed."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise ConfigError(
                f"{quoted(argument)} is not UTF-8 text; rename the file or folder that it names, "
                "or set the terminal to UTF-8 (PYTHONUTF8=1)"
            ) from None


def _one_line(error: Any) -> str:
    command = f" {error.ctx.info_name}" if error.ctx and error.ctx.parent else ""
    told = getattr(error, "message", "") if (meant := suggestion(error)) else error.format_message()
    message = " ".join(told.replace("Value error, ", "").split())
    message = _LONG_QUOTE.sub(r"\1…'", message)
    return f"{message.rstrip('.')}{meant} (see coeffdream{command} --help)"


def _fail(message: str, status: int) -> None:
    print(f"{which_process()}error: {printable(message)}", file=sys.__stderr__ if is_silent() else sys.stderr)
    sys.exit(status)
