"""Where the cells of a study run: on a Ray cluster, in actors that each hold one worker.

Ray finds a machine with the memory and the share of a card that an actor asks for, and carries arguments and exit
statuses. What the commands make they leave on the storage that all machines see, or send to the study's store, in files
that hold no code.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, Future
from pathlib import Path
from typing import Any

from coeffdream import stopping
from coeffdream.bench.need import Need
from coeffdream.bench.worker import Perform, Worker
from coeffdream.errors import ConfigError, counted

GIB = 1 << 30


class Held:
    """What an actor runs. The worker is a process of its own, which signals reach, and which can die alone."""

    def __init__(self, perform: Perform, shared: str, threads: int | None, store: str | None) -> None:
        self._worker = Worker(perform, Path(shared), threads, store=store)

    def card_memory(self) -> int:
        return self._worker.card_memory()

    def run(self, arguments: list[str], log: str) -> int:
        return self._worker.submit(arguments, Path(log)).result()

    def stop(self, number: int) -> None:
        self._worker.stop(number)


class Actor:
    """A `Held` from afar."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle

    def submit(self, arguments: list[str], log: Path) -> Future[int]:
        running: Future[int] = self.handle.run.remote(arguments, str(log.resolve())).future()
        return running


class RayEngine:
    """Actors on a cluster that runs already: nothing is started here that listens to others."""

    def __init__(
        self,
        perform: Perform,
        jobs: int | None,
        device: str,
        shared: Path,
        *,
        address: str,
        per_card: int,
        needed: Callable[[str], Need],
        store: str | None = None,
    ) -> None:
        """jobs: None is as many as the cluster has room for now. per_card: workers that share a card. needed: by a
        worker on "cuda" or "cpu".

        Raises ConfigError when Ray or the cluster is not there, or has no room for a single worker.
        """
        self._ray, dashboard = _connected(address)
        self._perform, self._shared, self._per_card, self._store = perform, str(shared), per_card, store
        there: Mapping[str, float] = self._ray.cluster_resources()
        self._on_cards = device != "cpu" and there.get("GPU", 0) > 0
        self._need = needed("cuda" if self._on_cards else "cpu")
        self._asks: dict[str, float] = {"num_cpus": 1, "memory": self._need.machine}
        if self._on_cards:
            self._asks["num_gpus"] = int(1e4 / per_card) / 1e4  # Ray counts in ten-thousandths
        self.jobs = jobs or self._room(there)
        self.lost: tuple[type[Exception], ...] = (self._ray.exceptions.RayActorError, BrokenExecutor)
        self._hired: list[Actor] = []
        nodes = sum(node["Alive"] for node in self._ray.nodes())
        self.where = f"{counted(self.jobs, 'cell')} at a time on {counted(nodes, 'node')} of a Ray cluster"
        if dashboard:
            self.where += f"; its dashboard: http://{dashboard}"

    def _room(self, there: Mapping[str, float]) -> int:
        asked = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
        room = min(int(there.get(asked[name], 0) / value) for name, value in self._asks.items())
        if room < 1:
            raise ConfigError(
                f"the Ray cluster has no room for one cell, which takes a core and {self._need.machine / GIB:.1f} GiB: it "
                f"has {there.get('CPU', 0):g} cores and {there.get('memory', 0) / GIB:.1f} GiB; add a node to it, or "
                "give --jobs to wait for one"
            )
        return room

    def hire(self) -> Future[Actor]:
        remote = self._ray.remote(Held).options(**self._asks, max_concurrency=2, max_restarts=0)
        threads = None if self._on_cards else 1
        actor = Actor(remote.remote(self._perform, self._shared, threads, self._store))
        self._hired.append(actor)
        up: Future[Actor] = Future()

        def placed(asked: Future[int]) -> None:
            try:
                self._check_card(asked.result())
                up.set_result(actor)
            except Exception as problem:
                up.set_exception(problem)

        actor.handle.card_memory.remote().future().add_done_callback(placed)
        return up

    def _check_card(self, memory: int) -> None:
        """Raises ConfigError for workers that do not fit on their card together."""
        together = self._per_card * self._need.card
        if self._on_cards and 0 < memory < together:
            fit = memory // self._need.card
            raise ConfigError(
                f"--per-card {self._per_card}: a cell takes {self._need.card / GIB:.1f} GiB of a card, and there is one of "
                f"{memory / GIB:.1f} GiB; " + (f"give --per-card {fit}" if fit else "take larger cards")
            )

    def dismiss(self, worker: Actor) -> None:
        self._hired.remove(worker)
        self._ray.kill(worker.handle)

    def stop(self, number: int) -> None:
        for actor in self._hired:
            actor.handle.stop.remote(number)

    def close(self) -> None:
        for actor in list(self._hired):
            self.dismiss(actor)
        self._ray.shutdown()


def _connected(address: str) -> tuple[Any, str]:
    """Ray, connected to a cluster, and where its dashboard is, if it has one."""
    try:
        import ray
    except ImportError:
        raise ConfigError(
            '--engine ray needs Ray; pip install "coeffdream[ray]", or use --engine local'
        ) from None
    problem = _unreachable(address)
    heard = {number: signal.getsignal(number) for number in stopping.SIGNALS}
    try:
        if problem is None:
            context = ray.init(address=address, log_to_driver=False, configure_logging=False)
            return ray, str(context.dashboard_url or "")
    except ConnectionError as error:
        problem = str(error).splitlines()[0][:160]
    finally:
        for number, handler in heard.items():  # Ray has taken SIGTERM for itself
            signal.signal(number, handler)
    raise ConfigError(
        f"--address {address}: no Ray cluster answers there ({problem}); start one, or use --engine local"
    )


def _unreachable(address: str) -> str | None:
    """Why nothing answers at HOST:PORT, which Ray itself would try for minutes."""
    if address == "auto":
        return None
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=10):
            return None
    except ValueError:
        return "an address is HOST:PORT, as ray start prints it"
    except OSError as error:
        return error.strerror or str(error)
