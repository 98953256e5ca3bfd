"""The list of commands, which --help prints without making any of them."""

from __future__ import annotations

import typer.main

from coeffdream.cli.app import app
from coeffdream.cli.commands import COMMANDS


def made():
    return typer.main.get_command(app).commands


def test_the_list_says_what_each_command_says_of_itself():
    """--help prints the first line of every command's own help, word for word."""
    for name, command in made().items():
        assert (command.help or "").strip().splitlines()[0] == COMMANDS[name][1]


def test_each_is_called_by_its_name():
    """The usage line and the errors of a command name the word that was typed."""
    assert [command.name for command in made().values()] == list(COMMANDS)


def test_an_unknown_one_is_none():
    """What is no command is refused by name, and not imported."""
    assert made().get("terminal") is None
    assert "terminal" not in made()
