"""What large studies take: arithmetic for 360 cells, and a simulation of 10,000 cells on 64 workers.

python docs/scale.py prints the tables of docs/scale.md; a test holds the page to them. The simulation is of discrete
events: workers take commands as coeffdream/bench/dispatch.py hands them out, the driver does one thing at a time, and so
does the storage's server of names.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Costs:
    """Seconds, and bytes where it says so. Measured (m) or assumed (a); docs/scale.md says with what."""

    step: dict[
        str, float
    ]  # of a training at 1024 pixels, by method, on an H100: m lora, coeff-lora; a the others
    picture: dict[str, float]  # of ten sampling steps, at batch 1: as above; "base" is the untouched one
    sampling_steps: int = 30
    steps: int = 200
    load: float = 30.0  # a: a worker's first command, libraries and base from storage
    between: float = 3.0  # a: what every command takes beside its steps: weights to the card, photos, claims
    score: float = 0.04  # a: a picture by CLIP and DINOv2
    driver: float = 0.0006  # m: of a command that ends and the one that begins
    read: float = 0.0025  # m 0.0005 for reading set.json, a 0.002 for its way over a network
    name: float = 0.0002  # a: the storage's server of names finds, makes or renames a file, 5,000 a second
    base_bytes: float = 7.1e9  # m: SDXL in bfloat16, its VAE in float32
    picture_bytes: float = 1.5e6  # a: a PNG of 1024 x 1024
    run_bytes: float = 12e6  # a: adapter, one checkpoint, records


MEASURED = Costs(
    step={"lora": 0.118, "coeff-lora": 0.166, "dora": 0.118 * 1.07, "coeff-dora": 0.166 * 1.07},
    picture={"lora": 0.81, "coeff-lora": 1.20, "dora": 0.81 * 1.07, "coeff-dora": 1.20 * 1.07, "base": 0.81},
)
BENCHMARK, UNRELATED = 100, 25  # pictures of a cell, each with and without the adapter


@dataclass(frozen=True)
class Stages:
    """Seconds on a worker that is warm. floor, untouched: only where nobody drew them before."""

    train: float
    draw: float
    floor: float
    unrelated: float
    untouched: float
    score: float

    @classmethod
    def of(cls, method: str, costs: Costs) -> Stages:
        def drawn(who: str, pictures: int) -> float:
            return pictures * costs.picture[who] * costs.sampling_steps / 10

        return cls(
            train=costs.between + costs.steps * costs.step[method],
            draw=costs.between + drawn(method, BENCHMARK),
            floor=drawn("base", BENCHMARK),
            unrelated=costs.between + drawn(method, UNRELATED),
            untouched=drawn("base", UNRELATED),
            score=costs.between + (2 * BENCHMARK + 2 * UNRELATED) * costs.score,
        )

    @property
    def of_every_cell(self) -> float:
        return self.train + self.draw + self.unrelated + self.score


@dataclass(frozen=True)
class Plan:
    concepts: int
    methods: tuple[str, ...]
    seeds: int

    @property
    def cells(self) -> int:
        return self.concepts * len(self.methods) * self.seeds


SUBJECTS = Plan(30, ("lora", "coeff-lora", "dora", "coeff-dora"), 3)


def arithmetic(plan: Plan, costs: Costs, cards: int) -> dict[str, float]:
    """Of a study on `cards` cards of one kind: hours of cards, hours on the clock, bytes stored and read, pictures."""
    stages = {method: Stages.of(method, costs) for method in plan.methods}
    trained = sum(each.train for each in stages.values()) * plan.concepts * plan.seeds
    own = sum(each.of_every_cell for each in stages.values()) * plan.concepts * plan.seeds
    floors = plan.concepts * (stages[plan.methods[0]].floor + stages[plan.methods[0]].untouched)
    extra = plan.cells * 2 * costs.between  # the two commands that take the floor over
    work = own + floors + extra + cards * costs.load
    pictures = plan.cells * (BENCHMARK + UNRELATED) + plan.concepts * (BENCHMARK + UNRELATED)
    # Machines of eight cards that share no disk: each wants the floor of a concept that another one drew.
    machines = min(-(-cards // 8), plan.cells // plan.concepts)
    fetched = (machines - 1) * plan.concepts * (BENCHMARK + UNRELATED) * costs.picture_bytes
    return {
        "card hours": work / 3600,
        "of them training": trained / 3600,
        "of them floors": floors / 3600,
        "hours on the clock": work / cards / 3600,
        "pictures": pictures,
        "stored GB": (pictures * costs.picture_bytes + plan.cells * costs.run_bytes) / 1e9,
        "from a store GB": (fetched + plan.cells * costs.run_bytes) / 1e9,
        "base read GB": cards * costs.base_bytes / 1e9,
        "written MB/s": (pictures * costs.picture_bytes + plan.cells * costs.run_bytes)
        / (work / cards)
        / 1e6,
    }


# What each command of a cell asks of the server of names: five for each picture that is written or linked, and its own.
NAMES = {"train": 50, "draw": 500, "floor": 500, "unrelated": 250, "score": 300}
COMMANDS = tuple(NAMES)
OF_THE_BASE = ("floor", "unrelated")


@dataclass
class Server:
    """Does one thing at a time, in the order asked."""

    free_at: float = 0.0
    busy: float = 0.0

    def serve(self, now: float, seconds: float) -> float:
        """When it is done with what is asked `now`."""
        self.free_at = max(self.free_at, now) + seconds
        self.busy += seconds
        return self.free_at


@dataclass(frozen=True, order=True)
class Waiting:
    """A cell and its next command."""

    place: int
    concept: int
    method: str
    command: int

    @property
    def name(self) -> str:
        return COMMANDS[self.command]

    @property
    def of_the_base(self) -> tuple[int, str] | None:
        return (self.concept, self.name) if self.name in OF_THE_BASE else None


@dataclass(frozen=True)
class Outcome:
    """workers, driver, storage: the share of the time that each is busy."""

    hours: float
    workers: float
    driver: float
    storage: float
    floors: int


class Simulation:
    """noted: a floor is found by its note; else a command that wants one reads every set that is there."""

    def __init__(self, plan: Plan, workers: int, costs: Costs, *, noted: bool = True) -> None:
        self._costs, self._noted, self._count = costs, noted, workers
        self._stages = {method: Stages.of(method, costs) for method in plan.methods}
        order = [(c, m) for _ in range(plan.seeds) for c in range(plan.concepts) for m in plan.methods]
        self._ready = [Waiting(place, *each, 0) for place, each in enumerate(order)]  # in order: a heap
        self._held: dict[tuple[int, str], list[Waiting]] = {}
        self._drawing: set[tuple[int, str]] = set()
        self._drawn: set[tuple[int, str]] = set()
        self._idle, self._cold = list(range(workers)), set(range(workers))
        self._ends: list[tuple[float, int, Waiting]] = []
        self._driver, self._storage = Server(), Server()
        self._sets, self._worked = 0, 0.0

    def run(self) -> Outcome:
        now = 0.0
        self._begin(now)
        while self._ends:
            now, worker, ended = heapq.heappop(self._ends)
            self._idle.append(worker)
            self._end(ended)
            self._begin(now)
        floors = sum(name == "floor" for _, name in self._drawn)
        busy = self._driver.busy / now, self._storage.busy / now
        return Outcome(now / 3600, self._worked / (now * self._count), *busy, floors)

    def _begin(self, now: float) -> None:
        while self._idle and self._ready:
            cell = heapq.heappop(self._ready)
            if (base := cell.of_the_base) in self._drawing:
                self._held.setdefault(base, []).append(cell)
                continue
            worker = self._idle.pop()
            lookups = self._sets if base and not self._noted else 1
            told = self._driver.serve(now, self._costs.driver)
            served = self._storage.serve(told, (NAMES[cell.name] + lookups) * self._costs.name)
            took = self._seconds(cell) + lookups * self._costs.read
            if worker in self._cold:
                self._cold.discard(worker)
                took += self._costs.load
            if base and base not in self._drawn:
                self._drawing.add(base)
            self._worked += took
            heapq.heappush(self._ends, (served + took, worker, cell))

    def _end(self, cell: Waiting) -> None:
        self._sets += {"draw": 1, "floor": 1, "unrelated": 2}.get(cell.name, 0)
        if base := cell.of_the_base:
            self._drawing.discard(base)
            self._drawn.add(base)
            for each in self._held.pop(base, []):
                heapq.heappush(self._ready, each)
        if cell.command + 1 < len(COMMANDS):
            heapq.heappush(self._ready, replace(cell, command=cell.command + 1))

    def _seconds(self, cell: Waiting) -> float:
        stages, new = self._stages[cell.method], cell.of_the_base not in self._drawn
        return {
            "train": stages.train,
            "draw": stages.draw,
            "floor": self._costs.between + new * stages.floor,
            "unrelated": stages.unrelated + new * stages.untouched,
            "score": stages.score,
        }[cell.name]


LARGE = Plan(625, SUBJECTS.methods, 4)  # 10,000 cells


def tables() -> str:
    """The tables of docs/scale.md."""
    rows = [
        "| cards | card hours | on the clock | base read | written, on average | read from a store |",
        "|---|---|---|---|---|---|",
    ]
    for cards in (1, 8, 64):
        told = arithmetic(SUBJECTS, MEASURED, cards)
        rows.append(
            f"| {cards} | {told['card hours']:.1f} | {told['hours on the clock']:.1f} h | {told['base read GB']:.0f} GB "
            f"| {told['written MB/s']:.1f} MB/s | {told['from a store GB']:.0f} GB |"
        )
    told = arithmetic(SUBJECTS, MEASURED, 8)
    training, floors = (told[f"of them {what}"] for what in ("training", "floors"))
    said = (
        f"{SUBJECTS.cells} cells: {told['pictures']:,.0f} pictures, {told['stored GB']:.0f} GB. Of "
        f"{told['card hours']:.1f} card hours {training:.1f} are training, {floors:.1f} the {SUBJECTS.concepts} floors, "
        "the rest pictures and scores."
    )
    large = [
        "| 10,000 cells | workers | on the clock | workers busy | driver busy | storage busy | floors drawn |",
        "|---|---|---|---|---|---|---|",
    ]
    asked = [("as it is", 64, True), ("every set read for a floor", 64, False), ("as it is", 1024, True)]
    for what, workers, noted in asked:
        out = Simulation(LARGE, workers, MEASURED, noted=noted).run()
        large.append(
            f"| {what} | {workers:,} | {out.hours:.1f} h | {out.workers:.0%} | {out.driver:.2%} | {out.storage:.1%} "
            f"| {out.floors} |"
        )
    return "\n\n".join([said, "\n".join(rows), "\n".join(large)])


if __name__ == "__main__":
    print(tables())
