"""How long each command is silent, how long it takes, and how long its libraries alone take to be imported.

    python tests/first_line.py [--repeats 3]

Every command runs `repeats` times in a process of its own, in turn with a bare import of what it needs; the medians are
printed. On a machine with other work all of them grow, and their ratios tell more than their seconds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FIRST_LINE = 1.0  # seconds, within which every command says what it is doing

DIFFUSERS = "import torch, peft; from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel"
SCORERS = "import torch, open_clip, vendi_score.vendi; from transformers import Dinov2Model"
PLOTS = "import numpy, jinja2, matplotlib.pyplot"
SMALL = ["--steps", "1", "--images-per-prompt", "1", "--no-grid"]

# The command, in the order of a first hour, and the import of what it cannot do without.
COMMANDS = [
    (["--help"], "import typer, rich.console"),
    (["doctor"], "import torch, huggingface_hub, psutil"),
    (["params", "--base", "sdxl"], DIFFUSERS),
    (["train", "--concept", "cat", "--dry-run"], DIFFUSERS),
    (["train", "--concept", "cat", "--base", "toybox", "--steps", "2", "--sample-every", "0"], DIFFUSERS),
    (["generate", "<V> cat in snow", *SMALL], DIFFUSERS),
    (["generate", *SMALL], DIFFUSERS),
    (["eval"], SCORERS),
    (["inspect"], PLOTS),
    (["report"], PLOTS),
    (["export", "--as-lora", "2"], "import torch, safetensors"),
    (["compare", "cat-coeff-lora", "other"], "import numpy, scipy.stats, msgspec"),
]
BEFORE = [  # what `compare` needs beside the others
    [
        "train",
        "--concept",
        "cat",
        "--base",
        "toybox",
        "--steps",
        "1",
        "--sample-every",
        "0",
        "--name",
        "other",
    ],
    ["generate", "--run", "other", *SMALL],
    ["eval", "other"],
]


def watched(command: list[str]) -> tuple[float, float]:
    """Seconds to the first line of any stream, and to the end."""
    started = time.monotonic()
    running = subprocess.Popen(
        [sys.executable, "-m", "coeffdream", *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert running.stdout is not None
    printed = [running.stdout.readline()]
    first = time.monotonic() - started
    printed += running.stdout.readlines()
    if running.wait() != 0:
        raise SystemExit(f"coeffdream {' '.join(command)} failed:\n{b''.join(printed).decode()}")
    return first, time.monotonic() - started


def imported(statement: str) -> float:
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", statement], check=True, capture_output=True)
    return time.monotonic() - started


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--repeats", type=int, default=3)
    repeats = options.parse_args().repeats
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    late = []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for command in BEFORE:
            watched(command)
        print(f"{'command':<44}{'first line':>12}{'in all':>10}{'import':>10}{'ratio':>8}")
        for command, statement in COMMANDS:
            pairs = [(watched(command), imported(statement)) for _ in range(repeats)]
            first, whole = (statistics.median(seen[part] for seen, _ in pairs) for part in (0, 1))
            bare = statistics.median(alone for _, alone in pairs)
            name = " ".join(command).replace(" --images-per-prompt 1 --no-grid", "")
            print(
                f"{name[:43]:<44}{first:>10.2f} s{whole:>8.1f} s{bare:>8.1f} s{whole / bare:>8.2f}",
                flush=True,
            )
            if first > FIRST_LINE:
                late.append(name)
        os.chdir("/")
    print(
        f"later than {FIRST_LINE:g} s: {', '.join(late)}"
        if late
        else f"every first line within {FIRST_LINE:g} s"
    )


if __name__ == "__main__":
    main()
