"""`coeffdream demo`: the commands that it prints are the ones it runs, in one process, as far as they go."""

from __future__ import annotations

import shlex
import sys

import pytest

from coeffdream import warm
from coeffdream.cli import workers
from coeffdream.cli.app import main


@pytest.fixture
def demonstrated(monkeypatch, capsys):
    """The exit status of `coeffdream demo ...`, what it printed, and what it ran; `failing` names a command that fails."""

    def ran(*more, failing=None):
        asked = []

        def perform(arguments):
            assert warm.keeping()
            asked.append(arguments)
            return 2 if arguments[0] == failing else 0

        monkeypatch.setattr(workers, "perform", perform)
        monkeypatch.setattr(sys, "argv", ["coeffdream", "demo", *more])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not warm.keeping()
        return ended.value.code, capsys.readouterr().err, asked

    return ran


def test_what_is_printed_is_what_is_run(demonstrated):
    """So that it can be typed again."""
    status, said, asked = demonstrated("dog", "--runs", "my runs")
    assert status == 0
    printed = [shlex.split(line[2:])[1:] for line in said.splitlines() if line.startswith("$ ")]
    assert printed == asked
    assert [words[0] for words in asked] == ["train", "generate", "eval", "report"]
    assert all(words[-2:] == ["--runs", "my runs"] for words in asked)
    assert asked[0][1:5] == ["--concept", "dog", "--base", "toybox"]


def test_the_usual_folder_goes_without_saying(demonstrated):
    """A newcomer reads the commands as the README has them."""
    _, said, _ = demonstrated()
    assert "$ coeffdream eval\n" in said
    assert "--runs" not in said


def test_a_command_that_fails_is_the_last(demonstrated):
    """With its status."""
    status, _, asked = demonstrated(failing="generate")
    assert (status, [words[0] for words in asked]) == (2, ["train", "generate"])


def test_a_concept_that_is_not_there(monkeypatch, capsys, tmp_path):
    """One line, of the command that looked for it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["coeffdream", "demo", "nothing"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert [line for line in capsys.readouterr().err.splitlines() if "error" in line] == [
        "error: nothing does not exist; give a folder with a few photos of one thing"
    ]
