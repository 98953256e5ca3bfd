"""The study behind the paper's Table 3: concepts x arms x training seeds, each cell trained, drawn and scored.

A cell is a run folder in the study's runs/. Its stages are commands, so a cell is made exactly as a person would make
it, and a study that was stopped goes on: a cell with scores is never run again, one that was cut short is resumed. What
the untouched base draws depends on neither method nor training seed: `generate` takes it over from a cell that has it
already.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from coeffdream.bench.carried import bring_log
from coeffdream.bench.dispatch import Chain, Dispatch
from coeffdream.bench.engine import Engine
from coeffdream.bench.hold import held
from coeffdream.bench.photos import check_photos, moved
from coeffdream.bench.store import Store
from coeffdream.bench.stored import level, of_the_report, plan_at, settle
from coeffdream.errors import ConfigError, RunError, together
from coeffdream.progress import Progress
from coeffdream.records.arms import options_of
from coeffdream.records.claim import claimed, is_husk
from coeffdream.records.commands import options
from coeffdream.records.fields import record_to_json
from coeffdream.records.files import write_json
from coeffdream.records.study import StudyFolder
from coeffdream.records.study_journal import Journal, Now, Running, StageEnd, at, sort_of
from coeffdream.records.study_plan import Cell, Study

# How far the command says it is that prints into a log: what it does, how much of it is done, of how much.
Told = Callable[[Path], "tuple[str, int, int] | None"]


@contextlib.contextmanager
def open_study(
    folder: Path,
    study: Study,
    tell: Callable[[str], None] = lambda line: None,
    store: Store | None = None,
) -> Iterator[list[Cell]]:
    """Hold the study's folder, and write the plan there, or let the one begun there grow to it; the cells still to do.

    tell: hears in a line that, and how, the study grows. Its study.json has the order of the cells. store: where the
    study is kept beside this machine's folder; each gets what the other has of finished cells.
    Raises ConfigError when another study lives there, or a larger one, or one of other photos, InUseError when another
    process is at work in it.
    """
    study.check()
    kept = StudyFolder(folder)
    with contextlib.ExitStack() as while_open:
        remedy = "wait until that has ended, or give another --study"
        while_open.enter_context(claimed(folder, "bench concepts", f"study {folder}", remedy))
        if store is not None:
            while_open.enter_context(held(store, tell))
        study = _planned(kept, study, tell, store)
        yield [cell for cell in study.cells if not kept.run(cell).scores.is_file()]


def _planned(kept: StudyFolder, study: Study, tell: Callable[[str], None], store: Store | None) -> Study:
    """The plan as it goes on, written down."""
    begun = {store.address: plan_at(store, kept)} if store is not None else {}
    begun[str(kept.path)] = kept.read() if kept.record_file.is_file() else None
    growth = None
    for place, before in begun.items():
        if before is not None:
            try:
                study = study.after(before)
            except ConfigError as problem:
                raise ConfigError(f"{place} {problem}") from None
            growth = growth or study.growth_since(before)
    if store is not None:
        level(store, kept, study.cells, tell)
    check_photos(kept, study)
    if begun[str(kept.path)] != study:
        write_json(kept.record_file, record_to_json(study))
    if store is not None and begun[store.address] != study:
        store.write(kept.record_file.name, kept.record_file.read_bytes())
    if growth:
        tell(growth)
    return study


def run_cells(
    folder: Path,
    study: Study,
    cells: Sequence[Cell],
    engine: Engine,
    progress: Progress,
    *,
    told: Told = lambda log: None,
    store: Store | None = None,
) -> None:
    """Run `cells` on the workers of `engine`. Raises RunError at the end that names every cell that failed.

    told: reads the logs of the commands that are running, so that each running cell can be shown with what it is at.
    store: where the workers of `engine` bring cells from and send them to.
    """
    kept, total = StudyFolder(folder), len(study.cells)
    journal, since = Journal(folder), at(time.time())
    done = total - len(cells)
    shown: dict[str, tuple[int, int, str]] = {}
    written: list[Running] | None = None
    failures: list[str] = []
    progress("study", done, total, "")

    def prepare(cell: Cell) -> list[list[str]]:
        if store is not None:
            settle(store, kept, cell)
        _make_room(kept.run(cell).path)
        return stages(folder, study, cell)

    def command_ended(chain: Chain, status: int | None) -> None:
        seconds = round(time.time() - chain.began, 3)
        journal.add(StageEnd(chain.cell.name, sort_of(chain.commands[0]), at(chain.began), seconds, status))
        if store is not None:
            bring_log(store, chain.cell.name, kept.log(chain.cell))

    def cell_ended(cell: Cell, problem: str | None) -> None:
        nonlocal done
        done += 1
        if store is not None and not problem:
            try:
                store.bring(cell.name, of_the_report)
            except RunError as error:
                problem = str(error)
        if problem:
            failures.append(f"{cell.name}: {problem}")
        progress("study", done, total, cell.name)

    def look(chains: list[Chain]) -> None:
        nonlocal written
        running = [
            Running(each.cell.name, sort_of(each.commands[0]), each.number, each.of, at(each.began))
            for each in chains
        ]
        if running != written:
            journal.set_now(Now(since, engine.where, engine.jobs, running))
            written = running
        for name in shown.keys() - {each.cell for each in running}:
            progress(name, 0, 0, "")
            del shown[name]
        for each in chains:
            stage, steps, of = told(kept.log(each.cell)) or ("", 0, 1)
            said = steps, of, f"{each.commands[0][0]} ({each.number} of {each.of}) {stage}".strip()
            if shown.get(each.cell.name) != said:
                progress(each.cell.name, *said)
                shown[each.cell.name] = said

    Dispatch(kept, cells, engine, prepare, command_ended, cell_ended, look).run()
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
    train, photos = ["train", *runs, "--resume", cell.name], []
    if run.record_file.is_file() and moved(cell, run):
        train, photos = [*train, *options(concept=cell.concept)], options(references=cell.concept)
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
    evaluate = ["eval", cell.name, *runs, "--device", study.device, *photos]
    return [*([] if trained else [train]), benchmark, floor, unrelated, evaluate]


def _make_room(run: Path) -> None:
    """Move what is left of a run without run.json away."""
    if not run.exists() or (run / "run.json").exists() or (run.is_dir() and is_husk(run)):
        return
    aside = (run.with_name(f"{run.name}.left-over-{number}") for number in range(1, 10_000))
    run.rename(next(path for path in aside if not path.exists()))
