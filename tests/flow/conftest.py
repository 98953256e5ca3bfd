"""Commands as processes of their own that start at once, to be killed, or to meet each other."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import multiprocessing
import os
import random
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# What train, generate and eval import on the way. A name that a later version lacks only costs time.
PRELOADED = (
    "coeffdream.cli.app",
    "coeffdream.cli.train",
    "coeffdream.cli.generate",
    "coeffdream.cli.evaluate",
    "coeffdream.training.run",
    "coeffdream.report.live",
    "coeffdream.generation.run",
    "coeffdream.metrics.evaluate",
    "coeffdream.metrics.clip",
    "coeffdream.metrics.dino",
    "peft",
    "vendi_score.vendi",
    "scipy.stats",
    "diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl",
    "transformers.models.clip.modeling_clip",
    "transformers.models.clip.tokenization_clip",
    "transformers.models.dinov2.modeling_dinov2",
)


def command_of_its_own(arguments: list[str], log: str, environment: dict[str, str]) -> None:
    """`coeffdream ARGUMENTS` in a process that this function is all of."""
    os.setpgrp()
    os.environ.clear()  # the process that waits has that of its own start, which may have been in another test
    os.environ.update(environment)
    with Path(log).open("ab") as stream:
        for descriptor in (1, 2):
            os.dup2(stream.fileno(), descriptor)
    for printed in (sys.stdout, sys.stderr):
        printed.reconfigure(line_buffering=True)
    sys.argv = ["coeffdream", *arguments]
    runpy.run_module("coeffdream", run_name="__main__")  # as `python -m coeffdream` does


@dataclasses.dataclass
class Command:
    """`coeffdream ARGUMENTS`, running."""

    process: Any
    log: Path
    started: float

    def wait(self) -> int:
        """Its exit status; as for a shell, the negative number of the signal that killed it."""
        self.process.join(600)
        assert self.process.exitcode is not None, f"still running: {self.printed}"
        return self.process.exitcode

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, number)

    def wait_for(self, seen: Callable[[], bool]) -> None:
        while not seen():
            assert self.process.is_alive(), self.printed
            time.sleep(0.005)

    @property
    def printed(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def error(self) -> str:
        """The one line of an error that it ended with, and no traceback."""
        assert "Traceback" not in self.printed, self.printed
        [line] = [line for line in self.printed.splitlines() if line.startswith("error: ")]
        return line


@pytest.fixture(scope="session")
def context() -> Any:
    """Python's fork server with the libraries loaded: a command begins a fraction of a second after it is asked for."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(list(PRELOADED))
    return made


@pytest.fixture
def begin(context, tmp_path) -> Any:
    """Start a command; whatever still runs at the end of the test is killed."""
    started: list[Command] = []

    def start(*arguments: Any) -> Command:
        log = tmp_path / "printed" / f"{len(started)}.txt"
        log.parent.mkdir(exist_ok=True)
        given = ([str(each) for each in arguments], str(log), dict(os.environ))
        process = context.Process(target=command_of_its_own, args=given)
        process.start()
        started.append(Command(process, log, time.monotonic()))
        return started[-1]

    yield start
    for command in started:
        command.process.kill()
        command.process.join()


@pytest.fixture
def run(begin) -> Callable[..., float]:
    """Run a command to its end, which must be a good one; the seconds it took."""

    def to_its_end(*arguments: Any) -> float:
        command = begin(*arguments)
        assert command.wait() == 0, command.printed
        return time.monotonic() - command.started

    return to_its_end


@pytest.fixture
def dice() -> random.Random:
    """Random moments; the seed is printed, and set with COEFFDREAM_TEST_SEED to see them again."""
    seed = int(os.environ.get("COEFFDREAM_TEST_SEED") or random.SystemRandom().randrange(10**6))
    print(f"COEFFDREAM_TEST_SEED={seed}")
    return random.Random(seed)


@pytest.fixture
def trained() -> Callable[[Path], dict[str, Any]]:
    """What a finished run has learned, tensor by tensor, and its log; times are not part of it."""

    def read(run: Path) -> dict[str, Any]:
        from safetensors.numpy import load_file

        assert json.loads((run / "run.json").read_text())["status"] == "complete"
        rows = [json.loads(line) for line in (run / "train.jsonl").read_text().splitlines()]
        files = {
            "NAME" if file.stem == run.name else file.stem: load_file(file)
            for file in sorted((run / "adapter").glob("*.safetensors"))
        }
        assert files
        return {
            "log": [{key: value for key, value in row.items() if key != "seconds"} for row in rows],
            "adapter": {f: {n: t.tobytes() for n, t in tensors.items()} for f, tensors in files.items()},
        }

    return read


@pytest.fixture
def drawn() -> Callable[[Path], dict[str, Any]]:
    """A set's manifest and the bytes of its pictures, which must be those of the manifest."""
    from coeffdream.records.files import sha256_of_file

    def read(folder: Path) -> dict[str, Any]:
        rows = [json.loads(line) for line in (folder / "images.jsonl").read_text().splitlines()]
        assert {path.name for path in folder.glob("*.png")} == {row["file"] for row in rows}
        assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]
        for row in rows:
            assert sha256_of_file(folder / row["file"]) == row["sha256"]
        seed = json.loads((folder / "set.json").read_text())["settings"]["seed"]
        assert [row["seed"] for row in rows] == [seed + index for index in range(len(rows))]
        return {"rows": rows, "pictures": {row["file"]: (folder / row["file"]).read_bytes() for row in rows}}

    return read
