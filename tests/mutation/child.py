"""Running tests in a fork of a process that has the heavy libraries in memory, and coeffdream not yet."""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from importlib.machinery import SourceFileLoader
from importlib.metadata import entry_points
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

MEMORY = 12 << 30  # beyond what the parent maps: a mutant that allocates without end ends alone
# One order, no cache; and libraries already in memory are none that pytest could rewrite.
OPTIONS = [
    "-q",
    "-p",
    "no:randomly",
    "-p",
    "no:cacheprovider",
    "-W",
    "ignore::pytest.PytestAssertRewriteWarning",
]
PATIENCE = 20  # wall seconds for each second of processor time that a run may take


def load_libraries() -> None:
    """What takes the tests seconds to import. Nothing of coeffdream: each fork imports its own version."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import accelerate  # noqa: F401
        import open_clip  # noqa: F401
        import peft  # noqa: F401
        import torch._dynamo  # noqa: F401
        import vendi_score.vendi  # noqa: F401
        from diffusers import (  # noqa: F401
            AutoencoderKL,
            DDPMScheduler,
            EulerDiscreteScheduler,
            StableDiffusionXLPipeline,
            UNet2DConditionModel,
        )
        from scipy import stats  # noqa: F401
        from transformers import (  # noqa: F401
            CLIPTextModel,
            CLIPTextModelWithProjection,
            CLIPTokenizer,
            Dinov2Model,
        )

        for plugin in entry_points(group="pytest11"):
            plugin.load()
    # A fork then shares the parent's memory: the collector would touch, and so copy, all of it.
    gc.collect()
    gc.freeze()
    assert not any(name.partition(".")[0] == "coeffdream" for name in sys.modules)


def in_a_fork(work: Callable[[], int], log: Path, seconds: float | None = None) -> int:
    """Run `work` in a process of its own, its output in `log`. Its exit status, or minus the signal that ended it.

    seconds: of processor time that it may take.
    """
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        status = 70
        try:
            os.setsid()
            sys.dont_write_bytecode = False  # pytest keeps the tests as it has rewritten them
            with log.open("w", encoding="utf-8") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            if seconds is not None:
                resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds)))
                mapped = (
                    int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
                    * resource.getpagesize()
                )
                resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, mapped + MEMORY))
            status = work()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    deadline = time.monotonic() + PATIENCE * (seconds or 3600)
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.killpg(process, signal.SIGKILL)
        time.sleep(0.02)


def run_tests(tests: Sequence[str], code: CodeType, path: Path, folder: Path, seconds: float) -> str:
    """Run the tests with `code` in place of the file's own, up to the first that fails.

    "survived", "killed by TEST" or "timeout". Programs that a test starts load the file itself.
    """
    verdict = folder / "verdict.txt"
    verdict.write_text("")

    def work() -> int:
        own = SourceFileLoader.get_code
        # Never on the disk, where a run that is stopped would leave it.
        SourceFileLoader.get_code = lambda self, name: code if self.path == str(path) else own(self, name)
        options = [*OPTIONS, "-x", f"--basetemp={folder / 'tmp'}"]
        return int(pytest.main([*options, *tests], plugins=[_FirstFailure(verdict)]))

    status = in_a_fork(work, folder / "last.log", seconds)
    if status == 0:
        return "survived"
    if failed := verdict.read_text():
        return f"killed by {failed}"
    if status < 0:
        return "timeout" if -status in (signal.SIGXCPU, signal.SIGKILL) else f"killed by signal {-status}"
    # They could be run when their lines were measured.
    return f"killed: the tests cannot be loaded ({status})"


class _FirstFailure:
    def __init__(self, file: Path) -> None:
        self._file = file

    def _note(self, report: Any) -> None:
        if report.failed and not self._file.read_text():
            self._file.write_text(report.nodeid)

    pytest_runtest_logreport = _note
    pytest_collectreport = _note
