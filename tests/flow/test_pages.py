"""Every command and code block of the README and of docs/ runs in a test, or says why it does not.

A comment on the line above a block says which:

    <!-- run -->               here, made small, in a folder with photos and finished runs of the embedded base
    <!-- run: FILE -->         written to FILE there, for a command of the page to read (TOML)
    <!-- run as in PAGE -->    PAGE has the same lines, and there they run
    <!-- run by tests/... -->  by that test
    <!-- not run: WHY -->

And every command, in a block or in a line of text, is one that the command line understands.
"""

from __future__ import annotations

import dataclasses
import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from coeffdream.cli.app import USAGE_ERROR, app, main
from coeffdream.data.shipped import shipped

ROOT = Path(__file__).parents[2]
README = "README.md"
TEXTS = {
    file.name: file.read_text(encoding="utf-8")
    for file in (ROOT / README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
}
FENCE = re.compile(r"(?:<!-- (?P<note>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S)
SPAN = re.compile(r"`(coeffdream [a-z][^`]*)`")
COMMANDS = ("coeffdream ", "git ", "make", "pip ", "pytest", "python ", "cd ")

# What makes each command small and offline; the rest of it is as the page has it.
SMALLER = {
    "train": ["--base", "toybox", "--steps", "2", "--sample-every", "0"],
    "generate": ["--steps", "1", "--images-per-prompt", "1"],
    "params": ["--base", "toybox"],
    "sweep": ["--prompts", "2", "--steps", "1"],
}


@dataclasses.dataclass(frozen=True)
class Block:
    page: str
    note: str
    language: str
    code: str

    @property
    def lines(self) -> list[str]:
        """Its commands, one a line, comments and continuations undone."""
        joined = self.code.replace("\\\n", " ").splitlines()
        return [line for each in joined if (line := " ".join(shlex.split(each, comments=True)))]


def blocks(page: str) -> list[Block]:
    found = FENCE.finditer(TEXTS[page])
    return [Block(page, each["note"] or "", each["language"], each["code"]) for each in found]


def spans(page: str) -> list[str]:
    """The commands in lines of text, and in tables, where a | is written \\|."""
    return [each.replace(r"\|", "|") for each in SPAN.findall(FENCE.sub("", TEXTS[page]))]


ALL = [block for page in TEXTS for block in blocks(page)]
CODE = [block for block in ALL if block.language in ("sh", "python", "toml")]


def named(block: Block) -> str:
    return f"{block.page}: {block.code.splitlines()[0][:50]}"


@pytest.mark.parametrize("page", TEXTS)
def test_blocks_say_what_they_are(page):
    """A command that stands in a block of no language, or indented, would be held to account by nothing."""
    unnamed = [line for block in blocks(page) if not block.language for line in block.code.splitlines()]
    indented = re.findall(r"^ {4}(\S.*)$", FENCE.sub("", TEXTS[page]), re.M) if page != "options.md" else []
    assert not [line for line in [*unnamed, *indented] if line.startswith(COMMANDS)]


@pytest.mark.parametrize("block", CODE, ids=named)
def test_every_block_runs_or_says_why_not(block):
    """The comment is there, and what it points at too."""
    how, _, what = block.note.partition(": ")
    if how == "not run":
        assert len(what) > 10
    elif how.startswith("run as in "):
        page = how.removeprefix("run as in ")
        there = [" ".join(shlex.split(line)) for line in spans(page)]
        there += [
            line for other in blocks(page) if not other.note.startswith("not run") for line in other.lines
        ]
        assert set(block.lines) <= set(there)
    elif how.startswith("run by "):
        assert (ROOT / how.removeprefix("run by ")).is_file()
    else:
        assert how == "run", "say above the block how it is held to account, in the words of this file's head"
        assert bool(what) == (block.language == "toml")


def typed(page: str) -> list[str]:
    code = [block.code.replace("\\\n", " ") for block in blocks(page) if block.language == "sh"]
    return [line for each in code for line in each.splitlines() if line.startswith("coeffdream ")] + spans(
        page
    )


@pytest.mark.parametrize("line", sorted({line for page in TEXTS for line in typed(page)}))
def test_the_command_line_understands_it(line):
    """No page shows an option, a choice or a command that does not exist."""
    command: Any = typer.main.get_command(app)
    words = shlex.split(line, comments=True)[1:]
    context = command.make_context("coeffdream", words)
    try:
        while hasattr(command, "commands") and (words := [*context._protected_args, *context.args]):
            name, command, words = command.resolve_command(context, words)
            context = command.make_context(name, words, parent=context)
    except USAGE_ERROR as error:
        # A line of text may speak of a command without the rest of it: `coeffdream import`.
        if not re.search("[Mm]issing|requires an argument", error.format_message()):
            raise


def run(*typed: str) -> None:
    """`coeffdream TYPED`, in this process, from the folder that it is in."""
    before, sys.argv = sys.argv, ["coeffdream", *typed]
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        sys.argv = before
    assert ended.value.code == 0, f"coeffdream {shlex.join(typed)}"


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """A folder with photos and two runs on them, drawn and scored with their floor."""
    folder = tmp_path_factory.mktemp("pages")
    shutil.copytree(shipped("concepts/cat"), folder / "my_cat")
    (folder / "two.txt").write_text("a <V> CLASS in the snow\na <V> CLASS on the beach\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COEFFDREAM_CACHE", str(folder / "cache"))
        patch.setattr("coeffdream.training.validation.DRAWS", 2)
        for method in ("lora", "coeff-lora"):
            run("train", "--concept", "my_cat", "--method", method, *SMALLER["train"])
            run("generate", "--prompts", "two.txt", *SMALLER["generate"])
            run("generate", "--prompts", "two.txt", "--no-adapter", *SMALLER["generate"])
            run("eval")
    return folder


def smaller(words: list[str]) -> list[str]:
    """The command of a page as it is run here: small, of the embedded base, globs as the shell has them."""
    words = [word.replace("NAME", "my_cat-coeff-lora") for word in words]
    words = [
        each for word in words for each in (sorted(map(str, Path().glob(word))) if "*" in word else [word])
    ]
    name = words[0]
    if "--resume" in words:
        return [*words, "--steps", "3"]
    words += SMALLER.get(name, [])
    if name == "generate" and not any("<V" in word or word == "--unrelated" for word in words):
        words += ["--prompts", "two.txt"]
    return words


@pytest.mark.parametrize(
    "page", sorted({block.page for block in CODE if block.note.partition(": ")[0] == "run"})
)
def test_what_runs_here(page, finished, tmp_path, monkeypatch, capsys):
    """Whoever types or copies what the page has gets no error."""
    shutil.copytree(finished, tmp_path / "here", symlinks=True)
    monkeypatch.chdir(tmp_path / "here")
    ours = [block for block in blocks(page) if block.note.partition(": ")[0] == "run"]
    for block in ours:
        if block.language == "toml":
            Path(block.note.partition(": ")[2]).write_text(block.code, encoding="utf-8")
    for block in ours:
        if block.language == "python":
            exec(compile(block.code, page, "exec"), {})
        elif block.language == "sh":
            for line in block.code.replace("\\\n", " ").splitlines():
                if words := shlex.split(line, comments=True):
                    assert words.pop(0) == "coeffdream"
                    run(*smaller(words))


def test_the_reference_is_what_the_code_says():
    """docs/options.md and docs/api.md cannot go stale; `python docs/reference.py` makes them."""
    made = runpy.run_path(str(ROOT / "docs" / "reference.py"))["PAGES"]
    stale = [page for page, text in made.items() if TEXTS[page] != text()]
    assert not stale, "python docs/reference.py makes them anew"
