"""Commands of coeffdream as processes of their own that need not import the libraries again.

Importing torch, diffusers and transformers takes longer than most stages of a toybox cell. So one process
imports them once and waits (Python's fork server), and every command runs in a fork of it: as clean as a
process that was started anew, a fraction of a second later.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import runpy
import signal
import sys
import threading
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from coeffdream import stopping

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


class Workers:
    """Runs commands. A forked process cannot use CUDA, so on a GPU each command starts anew."""

    def __init__(self, device: str) -> None:
        from coeffdream.backbones.device import pick_device

        # macOS has a fork server too, but what its own libraries have begun does not survive a fork.
        forks = "forkserver" in multiprocessing.get_all_start_methods() and sys.platform != "darwin"
        self._context: Any = multiprocessing.get_context(
            "forkserver" if forks and pick_device(device).type == "cpu" else "spawn"
        )
        if self._context.get_start_method() == "forkserver":
            self._context.set_forkserver_preload(list(PRELOADED))
        self._running: set[Any] = set()

    def __call__(self, arguments: list[str], log: Path, threads: int | None) -> int:
        """Run `coeffdream ARGUMENTS` with what it prints added to `log`; its exit status.

        threads: None leaves their number to the libraries.
        """
        given = (arguments, str(log), threads, dict(os.environ))
        process = self._context.Process(target=_command, args=given)
        process.start()
        self._running.add(process)
        try:
            process.join()
        finally:
            self._running.discard(process)
        return int(process.exitcode)

    def stop(self, number: int) -> None:
        """Hand a signal on to the commands that are running. (On Windows it ends them: their last checkpoint stays.)"""
        for process in list(self._running):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, number)


def _command(arguments: list[str], log: str, threads: int | None, environment: dict[str, str]) -> None:
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # noqa: TID251  The terminal's Ctrl-C comes through the study, once
    os.environ.update(environment)  # the process that waits has that of its own start
    with Path(log).open("ab") as stream:
        for descriptor in (1, 2):
            os.dup2(stream.fileno(), descriptor)
    for printed in (sys.stdout, sys.stderr):
        if isinstance(printed, TextIOWrapper):
            printed.reconfigure(line_buffering=True)
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    threading.Thread(target=_end_with_the_study, daemon=True).start()
    sys.argv = ["coeffdream", *arguments]
    runpy.run_module("coeffdream", run_name="__main__")  # as `python -m coeffdream` does


def _end_with_the_study() -> None:
    """A study that was killed leaves no stage behind: this one saves its state, as on Ctrl-C."""
    study = multiprocessing.parent_process()
    if study is not None:
        study.join()
        stopping.ask_this_process(signal.SIGINT)
