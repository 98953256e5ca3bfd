"""A study that is kept at a store, as the one process sees it that drives it: plans, finished cells, cells cut short."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from coeffdream.bench.store import Store
from coeffdream.errors import RunError, counted, listed
from coeffdream.records.files import parse_json
from coeffdream.records.images import SetFolder
from coeffdream.records.reading import decoded
from coeffdream.records.run import RunFolder
from coeffdream.records.study import StudyFolder, study_from
from coeffdream.records.study_plan import Cell, Study


def of_the_report(name: str) -> bool:
    """Whether it is a file of a run that comparing and reporting want: all but pictures and checkpoints."""
    return not name.endswith(".png") and not name.startswith("checkpoints/")


def plan_at(store: Store, kept: StudyFolder) -> Study | None:
    """None where no study was begun. Raises RunError for a damaged plan."""
    name = kept.record_file.name
    data, where = store.read(name), f"{store.address}/{name}"
    if data is None:
        return None
    try:
        value = parse_json(decoded(data))
    except ValueError as error:
        raise RunError(f"{where} is damaged ({error}); put back a good copy") from None
    return study_from(value, where)


def level(store: Store, kept: StudyFolder, cells: Sequence[Cell], tell: Callable[[str], None]) -> None:
    """Have the records of finished cells here that were made elsewhere, and those there that were made here without it."""
    there = {name for name, files in store.all_contents().items() if "scores.json" in files}
    here = {cell.name for cell in cells if kept.run(cell).scores.is_file()}
    coming = [cell.name for cell in cells if cell.name in there - here]
    lacking = [cell for cell in cells if cell.name in here - there]
    going = [cell.name for cell in lacking if _with_pictures(kept.run(cell))]
    if coming:
        tell(f"{store.address} has {counted(len(coming), 'finished cell')} more: bringing their records")
    for name in coming:
        store.bring(name, of_the_report)
    if going:
        tell(f"{store.address} lacks {counted(len(going), 'finished cell')} of this folder: sending them")
    for name in going:
        store.send(name)
    if bare := [cell.name for cell in lacking if cell.name not in going]:
        tell(
            f"{store.address} lacks {listed(bare)}, of which there are scores here and no pictures; to have them there, "
            "remove those runs, and they are made anew"
        )


def _with_pictures(run: RunFolder) -> bool:
    """Whether all is here that its manifests name, and not its records alone, as `level` brings them."""
    folders = [SetFolder(manifest.parent) for manifest in run.images.glob("*/images.jsonl")]
    return all((folder.path / image.file).is_file() for folder in folders for image in folder.read_images())


def settle(store: Store, kept: StudyFolder, cell: Cell) -> None:
    """Before a cell goes on: its record is here, and what was left here of a command that was cut is there, so that it goes
    on wherever its next command runs."""
    run = kept.run(cell)
    store.bring(cell.name, lambda name: name == run.record_file.name)
    if run.record_file.is_file():
        store.send(cell.name)
