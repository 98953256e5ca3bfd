"""--help answers at once: nothing heavy is imported before a command knows what it is asked to do."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "torchvision",
    "diffusers",
    "transformers",
    "peft",
    "accelerate",
    "open_clip",
    "vendi_score",
)
HEAVY += (
    "numpy",
    "scipy",
    "PIL",
    "matplotlib",
    "safetensors",
    "huggingface_hub",
    "timm",
    "msgspec",
    "pandas",
    "sklearn",
)

PROBE = """
import json, sys
from coeffdream.cli.app import main
sys.argv = ["coeffdream", *sys.argv[1:]]
try:
    main()
except SystemExit as ended:
    print("\\n" + json.dumps({"status": ended.code or 0, "modules": sorted({m.partition(".")[0] for m in sys.modules})}))
"""


def ask(*arguments: str) -> tuple[str, int, set[str]]:
    """What the command line prints, its exit status, and the packages it loaded."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, check=True, timeout=120
    )
    shown, _, last = done.stdout.strip().rpartition("\n")
    told = json.loads(last)
    return shown, told["status"], set(told["modules"])


def commands() -> list[str]:
    import typer.main

    from coeffdream.cli.app import app

    # Typer's type does not say that an app with several commands is a group.
    return sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", ["", *commands()])
def test_help_imports_nothing_heavy(command):
    """Under half a second is impossible with torch (2 s) or diffusers (5 s) on the way."""
    shown, status, modules = ask(*[word for word in (command, "--help") if word])
    assert status == 0
    assert "Usage: coeffdream" in shown
    assert not modules & set(HEAVY)


def test_the_commands_of_the_tool():
    """All of them are listed by --help."""
    assert {"train", "generate", "eval", "params", "inspect", "doctor"} <= set(commands())
    shown, _, _ = ask("--help")
    assert all(command in shown for command in commands())


def test_no_arguments_show_the_help():
    """A person who types only the name learns what there is."""
    shown, _, _ = ask()
    assert "Usage: coeffdream" in shown


@pytest.mark.parametrize("arguments", [["--version"], ["train", "--rank", "two"], ["trian"]])
def test_small_answers_import_nothing_heavy_either(arguments):
    """A version, a wrong option, a misspelled command."""
    _, status, modules = ask(*arguments)
    assert status == (0 if arguments == ["--version"] else 2)
    assert not modules & set(HEAVY)
