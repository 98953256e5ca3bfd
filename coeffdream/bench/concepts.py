"""The study behind the paper's Table 3: concepts x arms x training seeds, each cell trained, drawn and scored.

A cell is a run folder in the study's runs/. Its stages are commands, each in a process of its own, so a
cell is made exactly as a person would make it, and a study that was stopped goes on: a cell with scores
is never run again, one that was cut short is resumed. What the untouched base draws depends on neither
method nor training seed: `generate` takes it over from a cell that has it already.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

from coeffdream.errors import ConfigError, RunError, together
from coeffdream.progress import Progress
from coeffdream.records.arms import options_of
from coeffdream.records.claim import claimed, create_json, is_husk, wait_until_free
from coeffdream.records.commands import options
from coeffdream.records.fields import record_to_json
from coeffdream.records.study import StudyFolder
from coeffdream.records.study_plan import Cell, Study
from coeffdream.stopping import status_of

# Runs `coeffdream ARGUMENTS`, prints into a log, uses so many threads; returns the exit status.
Perform = Callable[[list[str], Path, "int | None"], int]


# How far the command says it is that prints into a log: what it does, how much of it is done, of how much.
Told = Callable[[Path], "tuple[str, int, int] | None"]

LOOK_EVERY = 1.0  # seconds between two looks at the logs of the running cells
STRAGGLERS = 60.0  # seconds that the stage of a study that was killed may take to save its state


@contextlib.contextmanager
def open_study(folder: Path, study: Study) -> Iterator[list[Cell]]:
    """Hold the study's folder: write the plan, or check that it is the one begun there; the cells still to do.

    Raises ConfigError when another study lives in `folder`, InUseError when another process is at work in it.
    """
    study.check()
    kept = StudyFolder(folder)
    with claimed(
        folder, "bench concepts", f"study {folder}", "wait until that has ended, or give another --study"
    ):
        if not create_json(kept.record_file, record_to_json(study)):
            before, plan = vars(kept.read()), vars(study)
            described = [
                f"{key} was {before[key]!r} and is now {plan[key]!r}"
                for key in plan
                if before[key] != plan[key]
            ]
            if described:
                raise ConfigError(together(f"{folder} holds another study (name another --study)", described))
        yield [cell for cell in study.cells if not kept.run(cell).scores.is_file()]


def run_cells(
    folder: Path,
    study: Study,
    cells: Sequence[Cell],
    jobs: int,
    perform: Perform,
    progress: Progress,
    *,
    stop: Callable[[int], None] = lambda number: None,
    told: Told = lambda log: None,
) -> None:
    """Run `cells`, `jobs` at a time. Raises RunError at the end that names every cell that failed.

    stop: hands a signal that asks this study to stop to the commands that are running. told: reads their logs, so
    that each running cell can be shown with what it is at.
    """
    total = len(study.cells)
    done = total - len(cells)
    progress("study", done, total, "")
    failures: list[str] = []
    stopping = threading.Event()
    at: dict[Cell, str] = {}  # the running cells, and which of its commands each is at
    with ThreadPoolExecutor(jobs) as pool:
        try:
            running = {
                pool.submit(_run_cell, folder, study, cell, jobs, perform, stopping, at): cell
                for cell in cells
            }
            waiting = set(running)
            while waiting:
                finished, waiting = wait(waiting, LOOK_EVERY, FIRST_COMPLETED)
                for each in finished:
                    cell = running[each]
                    done += 1
                    problem = each.result()
                    if problem:
                        failures.append(f"{cell.name}: {problem}")
                    progress(cell.name, 0, 0, "")
                    progress("study", done, total, cell.name)
                for cell, command in list(at.items()):
                    stage, steps, of = told(StudyFolder(folder).log(cell)) or ("", 0, 1)
                    progress(cell.name, steps, of, f"{command} {stage}".strip())
        except KeyboardInterrupt as asked:
            # The stages save their state; no further one is begun.
            stopping.set()
            stop(status_of(asked) - 128)
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    if failures:
        raise RunError(
            together(
                f"{len(failures)} of {total} cells failed; mend and run the same command again", failures
            )
        )


def stages(folder: Path, study: Study, cell: Cell) -> list[list[str]]:
    """The arguments of the commands that this cell still needs, as a person would type them."""
    kept = StudyFolder(folder)
    run = kept.run(cell)
    runs = ["--runs", str(kept.runs)]
    train = ["train", *runs, "--resume", cell.name]
    if not run.record_file.is_file():
        train = ["train", *runs, *options(concept=cell.concept, base=study.base)]
        train += options(seed=cell.seed, name=cell.name, device=study.device)
        train += options_of({"sample_every": 0, **study.options_of(cell.arm)})
    sampling = options(device=study.device, steps=study.sampling_steps)
    generate = ["generate", *runs, "--run", cell.name, *sampling]
    benchmark = [*generate, *options(images_per_prompt=study.images_per_prompt)]
    floor = [*benchmark, "--no-adapter", "--no-grid"]
    unrelated = [*generate, "--unrelated", "--no-grid"]
    trained = run.record_file.is_file() and run.read().status == "complete"
    evaluate = ["eval", cell.name, *runs, "--device", study.device]
    return [*([] if trained else [train]), benchmark, floor, unrelated, evaluate]


def _run_cell(
    folder: Path,
    study: Study,
    cell: Cell,
    jobs: int,
    perform: Perform,
    stopping: threading.Event,
    at: dict[Cell, str],
) -> str | None:
    """What went wrong, or None. Everything the stages print goes to the cell's log, and to `at` which of them runs."""
    log = StudyFolder(folder).log(cell)
    log.parent.mkdir(parents=True, exist_ok=True)
    # Each with its share of the cores: more threads than cores wait for one another.
    threads = max(1, (os.cpu_count() or 1) // jobs) if jobs > 1 else None
    try:
        _make_room(StudyFolder(folder).run(cell).path)
        needed = stages(folder, study, cell)
    except RunError as error:
        return str(error)
    try:
        return _run_stages(cell, needed, log, threads, perform, stopping, at)
    finally:
        at.pop(cell, None)


def _run_stages(
    cell: Cell,
    needed: Sequence[list[str]],
    log: Path,
    threads: int | None,
    perform: Perform,
    stopping: threading.Event,
    at: dict[Cell, str],
) -> str | None:
    for number, arguments in enumerate(needed, start=1):
        at[cell] = f"{arguments[0]} ({number} of {len(needed)})"
        if stopping.is_set():
            return "stopped"
        with log.open("a", encoding="utf-8") as stream:
            stream.write(f"$ coeffdream {' '.join(arguments)}\n")
        status = perform(arguments, log, threads)
        if status != 0:
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            return f"coeffdream {arguments[0]} ended with {status}: {lines[-1]} (see {log})"
    return None


def _make_room(run: Path) -> None:
    """Let the stage of a killed study come to its end, and move what is left of a run without run.json away."""
    wait_until_free(run, STRAGGLERS)
    if not run.exists() or (run / "run.json").exists() or (run.is_dir() and is_husk(run)):
        return
    aside = (run.with_name(f"{run.name}.left-over-{number}") for number in range(1, 10_000))
    run.rename(next(path for path in aside if not path.exists()))
