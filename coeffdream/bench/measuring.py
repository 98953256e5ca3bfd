"""Seconds and bytes of a piece of work, on a CPU or a GPU."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def seconds_of(work: Callable[[], None], device: Any) -> float:
    with synchronised(device):
        start = time.perf_counter()
        work()
    return time.perf_counter() - start


@contextmanager
def synchronised(device: Any) -> Iterator[None]:
    """The queue of a GPU is empty before, and the work done after."""
    if device.type != "cuda":
        yield
        return
    import torch

    torch.cuda.synchronize(device)
    yield
    torch.cuda.synchronize(device)


def peak_of(work: Callable[[], object], device: Any) -> int:
    """The most bytes that `work` holds at once beyond what was there before, gradients included."""
    import torch

    if device.type == "cuda":
        with synchronised(device):
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
            work()
        return int(torch.cuda.max_memory_allocated(device) - before)
    # Kineto writes a line to standard error for each profile, and an error for the GPU that is not there.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    held = peak = 0
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak
