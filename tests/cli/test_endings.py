"""Whatever is raised, a command ends with one line and a status; whatever is printed, any console takes it."""

from __future__ import annotations

import errno
import io
import json
import os
import sys

import pytest

from coeffdream.cli import terminal
from coeffdream.cli.app import main
from coeffdream.cli.encoding import use_any_encoding
from coeffdream.cli.endings import ending
from coeffdream.errors import ConfigError, NonFiniteLossError


class SafetensorError(Exception):
    """Called as the library's own, which this file need not import."""


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (ConfigError("no"), 2, "no"),
        (NonFiniteLossError("nan"), 1, "nan"),
        (OSError(errno.ENOSPC, "No space left on device", "runs/a"), 1, "runs/a: No space left on device"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), 1, "No space left"),
        (SafetensorError("header too large"), 2, "header too large"),
        (PermissionError(errno.EACCES, "Permission denied", "runs"), 1, "runs: Permission denied"),
        (OSError(errno.EROFS, "Read-only file system", "runs"), 1, "Read-only"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.png"), 2, "a.png: No such file"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "a/b"), 2, "check the path"),
        (OSError(errno.ELOOP, "Too many levels of symbolic links", "a"), 2, "Too many levels"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 5000), 2, "File name too long"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), 2, "not UTF-8"),
        (UnicodeEncodeError("utf-8", "\udce9", 0, 1, "surrogates not allowed"), 2, "not UTF-8"),
        (RecursionError("maximum recursion depth"), 2, "nested too deeply"),
        (OverflowError("int too large to convert to float"), 2, "out of range"),
        (MemoryError(), 2, "memory"),
        (
            RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes"),
            2,
            "ask for less",
        ),
        (KeyError("sketch"), 1, "did not foresee (KeyError: 'sketch')"),
        (ValueError("a\nb\n" * 10_000), 1, "--debug"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_every_error_is_a_line_and_a_status(error, status, says):
    """2 where asking differently can help, 1 where the system or coeffdream failed."""
    message, ended = ending(error)
    assert ended == status
    assert says in message
    assert "\n" not in message
    assert len(message) < 5000


@pytest.fixture
def broken(monkeypatch, capsys):
    """Run a command that raises the given error."""

    def run(error, *options):
        def command(*arguments, **options):
            raise error

        monkeypatch.setattr("coeffdream.backbones.base.find_base", command)
        monkeypatch.setattr(sys, "argv", ["coeffdream", *options, "params", "--base", "toybox"])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capsys.readouterr().err

    return run


def test_no_traceback_without_being_asked(broken):
    """A fault of coeffdream itself is a line that says how to see where; --debug shows it."""
    status, said = broken(ZeroDivisionError("division by zero"))
    assert (status, said.count("\n")) == (1, 1)
    assert said.startswith("error: coeffdream failed in a way it did not foresee (ZeroDivisionError")
    _, said = broken(ZeroDivisionError("division by zero"), "--debug")
    assert "Traceback" in said


def test_words_that_are_no_text_are_refused_first(cli):
    """They could be neither recorded nor printed, so nothing is begun with them."""
    odd = os.fsdecode(b"caf\xe9")
    for arguments in (
        ("train", "--concept", odd),
        ("generate", f"<V> {odd}"),
        ("generate", "--negative", odd),
    ):
        answer = cli(*arguments)
        assert answer.status == 2
        [line] = answer.complaint
        assert r"caf\udce9" in line
        assert "is not UTF-8 text" in line


def test_what_was_typed_is_not_repeated_whole(cli):
    """A megabyte in place of a number is quoted by its first eighty characters."""
    for arguments in (
        ("params", "--rank", "9" * 10_000),
        ("x" * 10_000,),
        ("params", "--preset", "y" * 10_000),
    ):
        answer = cli(*arguments)
        assert answer.status == 2
        [line] = answer.complaint
        assert len(line) < 700


def test_a_photo_that_vanishes_while_it_is_read(cli, tiny_base, cat_folder, monkeypatch, tmp_path):
    """Named as the system names it; nothing is begun."""
    from coeffdream.data import concept

    hashed = concept.sha256_of_file

    def vanishing(path):
        path.unlink()
        return hashed(path)

    monkeypatch.setattr(concept, "sha256_of_file", vanishing)
    answer = cli("train", "--concept", cat_folder, "--base", tiny_base)
    assert answer.status == 2
    [line] = answer.complaint
    assert "00.png: No such file or directory" in line
    assert not (tmp_path / "runs").exists()


class TestConsoles:
    """Consoles and pipes of any encoding."""

    @pytest.fixture
    def console(self, monkeypatch):
        """Standard output of an encoding; returns what was written to it."""

        def made(encoding):
            stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
            monkeypatch.setattr(sys, "stdout", stream)
            use_any_encoding()

            def written() -> str:
                stream.flush()
                return stream.buffer.getvalue().decode(encoding)

            return written

        return made

    @pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "cp437", "utf-8"])
    def test_results_are_printed(self, encoding, console):
        """What the encoding lacks becomes a question mark; nothing is lost after the work."""
        written = console(encoding)
        terminal.show("‖α'−I‖ to←of 🐈 kätzchen \udce9")
        assert "'" in written()
        assert ("←" in written()) == (encoding == "utf-8")

    @pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437", "utf-8"])
    def test_json_stays_whole(self, encoding, console):
        """JSON has its own escapes: a program that reads it gets every letter."""
        written = console(encoding)
        terminal.show_json({"class": "Kätzchen 🐈"})
        assert json.loads(written()) == {"class": "Kätzchen 🐈"}

    @pytest.mark.parametrize("encoding", ["ascii", "cp437"])
    def test_help(self, encoding, console, monkeypatch):
        """`train --help` has frames and dashes that no such console knows."""
        written = console(encoding)
        monkeypatch.setattr(sys, "argv", ["coeffdream", "train", "--help"])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
        assert "--concept" in written()

    def test_commands_to_the_terminal_are_escaped(self, capsys):
        """A file's name may set a window's title, or worse."""
        terminal.say("\x1b]0;owned\x07 a:cat: [bold]\ttab")
        terminal.warn("\x9b31m")
        said = capsys.readouterr().err
        assert "\x1b" not in said
        assert r"\x1b]0;owned\x07 a:cat: [bold]" in said
        assert r"\x9b31m" in said
