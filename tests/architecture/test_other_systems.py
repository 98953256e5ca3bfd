"""Windows and macOS, as far as a Linux machine can tell: what the source may not use, and what runs without it."""

from __future__ import annotations

import ast
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from coeffdream.cli import workers
from coeffdream.records import environment

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    file for folder in ("coeffdream", "docs", "integrations") for file in (ROOT / folder).rglob("*.py")
)


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_text_has_an_encoding(file):
    """Windows would read and write it in that of its locale. Ruff's PLW1514 finds only paths whose type it can tell."""
    calls = [
        node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)
    ]
    silent = [
        node.lineno
        for node in calls
        if isinstance(node.func, ast.Attribute)
        and node.func.attr in ("read_text", "write_text")
        and "encoding" not in {word.arg for word in node.keywords}
        # files.write_text(path, text) is our own, and UTF-8
        and not (isinstance(node.func.value, ast.Name) and node.func.value.id == "files")
    ]
    assert not silent


# Without what only POSIX has, a package is imported anew, module by module. Third-party libraries that other
# systems have in a form of their own are in before; Triton, which they lack, is not.
WITHOUT_POSIX = """
import importlib, json, multiprocessing, os, pkgutil, signal, sys
import torch, diffusers, transformers, peft, open_clip, filelock, psutil, typer, rich.console, matplotlib.pyplot
import scipy.stats, vendi_score.vendi, msgspec, accelerate, safetensors.torch, torchvision.transforms.v2, jinja2, PIL.Image
import re2, huggingface_hub

for name in ("fork", "forkpty", "getuid", "geteuid", "getgid", "setpgrp", "setsid", "killpg", "mkfifo", "uname",
             "sched_getaffinity", "getloadavg", "statvfs", "nice", "O_NONBLOCK", "O_NOFOLLOW", "O_DIRECTORY"):
    delattr(os, name)
for name in ("SIGHUP", "SIGKILL", "SIGQUIT", "SIGUSR1", "SIGALRM", "SIGCHLD", "SIGPIPE", "pthread_kill", "alarm",
             "setitimer", "pause"):
    delattr(signal, name)
for name in ("fcntl", "grp", "pwd", "resource", "termios", "tty", "pty", "syslog", "triton"):
    sys.modules[name] = None
multiprocessing.get_all_start_methods = lambda: ["spawn"]
sys.platform = "win32"

import coeffdream
failed = {}
for module in pkgutil.walk_packages(coeffdream.__path__, "coeffdream."):
    if "__main__" in module.name:
        continue
    try:
        importlib.import_module(module.name)
    except ImportError as error:
        failed[module.name] = str(error)
from coeffdream import stopping
with stopping.heard():
    pass
print(json.dumps({"failed": sorted(failed), "signals": [each.name for each in stopping.SIGNALS]}))
"""


def test_every_module_is_imported_without_posix():
    """All but the Triton kernels, which nothing imports until `backend="triton"` is asked for."""
    import json

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITHOUT_POSIX],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["failed"] == [
        f"coeffdream.attention.triton_{part}" for part in ("backward", "common", "forward")
    ]
    assert told["signals"] == ["SIGINT", "SIGTERM"]


def test_a_cache_without_a_home(monkeypatch, tmp_path):
    """Windows has no user numbers; its temporary files are each user's own."""
    monkeypatch.delenv("COEFFDREAM_CACHE", raising=False)
    monkeypatch.setattr(environment.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(Path, "home", classmethod(lambda cls: (_ for _ in ()).throw(RuntimeError("no home"))))
    monkeypatch.delattr(os, "getuid")
    assert environment.cache_folder() == tmp_path / "coeffdream"
    assert (tmp_path / "coeffdream").is_dir()


def start_methods(monkeypatch, *methods: str, system: str) -> str:
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: list(methods))
    monkeypatch.setattr(sys, "platform", system)
    return workers.Workers("cpu")._context.get_start_method()


def test_only_linux_forks(monkeypatch):
    """Windows cannot, and what macOS's libraries have begun does not survive it."""
    assert start_methods(monkeypatch, "spawn", system="win32") == "spawn"
    assert start_methods(monkeypatch, "spawn", "fork", "forkserver", system="darwin") == "spawn"
    assert start_methods(monkeypatch, "fork", "spawn", "forkserver", system="linux") == "forkserver"


def test_a_command_runs_in_a_spawned_process(monkeypatch, tmp_path):
    """Everything that a stage is given survives the way there, and its output and status the way back."""
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    run = workers.Workers("cpu")
    log = tmp_path / "log.txt"
    assert run(["--version"], log, None) == 0
    assert run(["train", "--steps", "0", "--concept", str(tmp_path)], log, None) == 2
    version, error = log.read_text(encoding="utf-8").splitlines()
    assert version.startswith("coeffdream ")
    assert error == "error: these options make no run: --steps 0 must be at least 1"
