"""The cells of a study, run and compared: what `bench concepts` and `study methods` share."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from coeffdream.cli.methods import check_methods
from coeffdream.cli.terminal import ProgressDisplay, doing, last_progress, loading, near, say, warn
from coeffdream.config import TrainConfig
from coeffdream.errors import counted
from coeffdream.records.study_plan import Study

if TYPE_CHECKING:
    from coeffdream.bench.engine import Engine
    from coeffdream.compare.result import Comparison


@dataclass(frozen=True)
class Where:
    """Where cells run: `local`, on this machine, `jobs` at a time, or `ray`, on the cluster at `address`.

    jobs: None is one here, and with Ray all that there is room for. per_card: cells that share a card of a cluster.
    store: an address where the study is kept beside the folders of the machines that make it.
    """

    engine: str = "local"
    jobs: int | None = None
    address: str | None = None
    per_card: int = 1
    store: str | None = None

    def started(self, plan: Study, shared: Path) -> Engine:
        from coeffdream.cli.workers import perform

        if self.engine == "local":
            from coeffdream.bench.engine import LocalEngine

            return LocalEngine(perform, self.jobs or 1, plan.device, shared, self.store)
        from coeffdream.bench.need import need
        from coeffdream.bench.ray_engine import RayEngine

        needed, address = partial(need, plan), self.address or "auto"
        return RayEngine(
            perform,
            self.jobs,
            plan.device,
            shared,
            needed=needed,
            address=address,
            per_card=self.per_card,
            store=self.store,
        )


def folders_of(concepts: Sequence[str]) -> list[str]:
    """Their folders, absolute, each with photos that can be learned from: read before the first hour is spent."""
    from coeffdream.data.concept import load_concept
    from coeffdream.data.shipped import concept_folder

    folders = [concept_folder(name).resolve() for name in concepts]
    with doing(f"reading the photos of {counted(len(folders), 'concept')}"):
        for folder in folders:
            load_concept(folder)
    return [str(folder) for folder in folders]


def run_study(plan: Study, folder: Path, where: Where, arms_text: str | None = None) -> Comparison:
    """Run what is still to do of `plan` in `folder`, and compare its arms; comparison.json has every number.

    arms_text: the file that describes the arms, to be kept with the study.
    """
    with loading("torch", "scipy"):
        from coeffdream.bench.concepts import open_study, run_cells
        from coeffdream.bench.store import Store
        from coeffdream.compare.comparison import compare
        from coeffdream.compare.pairing import pair_study
        from coeffdream.compare.scored import load_runs
        from coeffdream.records.fields import record_to_json
        from coeffdream.records.files import write_json, write_text
        from coeffdream.records.study import StoreRecord, StudyFolder

    described = [plan.arms.get(name, {"method": name}) for name in plan.methods]
    check_methods(
        # Any word may stand here; whether it is a method is what is asked.
        TrainConfig(method=str(arm["method"]), method_option=list(arm.get("method_option", [])))  # type: ignore[arg-type]
        for arm in described
    )
    if where.engine == "local":
        from coeffdream.backbones.device import pick_device

        pick_device(plan.device)
    kept = StudyFolder(folder)
    store = Store(where.store, folder) if where.store else None
    with open_study(folder, plan, say, store) as todo:
        plan = kept.read()  # in the order that it was begun in
        if store is not None:
            write_json(kept.store_file, record_to_json(StoreRecord(store.address)))
        elif before := kept.store():
            warn(
                f"this study is kept at {before}; --store {before} goes on with what is there, and adds to it"
            )
        if arms_text is not None:
            write_text(kept.arms_file, arms_text)
            if store is not None:
                store.write(kept.arms_file.name, arms_text.encode())
        say(f"{len(plan.cells)} cells, {len(todo)} to do; logs in {near((folder / 'logs').resolve())}")
        if todo:
            workers = where.started(plan, kept.shared)
            say(workers.where)
            with ProgressDisplay() as progress:
                run_cells(folder, plan, todo, workers, progress, told=last_progress, store=store)
        cells = load_runs([str(kept.run(cell).path) for cell in plan.cells], folder)
        comparison = compare(pair_study(plan, plan.cells, cells))
        write_json(folder / "comparison.json", dataclasses.asdict(comparison))
        if store is not None:
            store.write("comparison.json", (folder / "comparison.json").read_bytes())
    return comparison
