"""Where a study is kept that its machines share no disk for: at an address that fsspec reads, such as s3://bucket/study.

Every machine makes cells in a folder of its own. Before a command of a cell it brings down what is there of the cell,
after it it sends up what was made. What lies at the address is a study's folder like any other; beside it
contents/CELL.json says which files of a cell are there. It is written when they are, so that of an upload that was cut
nothing is to be seen, and what comes down is held to the sha256 in it.
"""

from __future__ import annotations

import contextlib
import errno
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from coeffdream.bench.address import opened
from coeffdream.errors import CoeffdreamError, RunError
from coeffdream.records.claim import in_turn, is_husk
from coeffdream.records.contents import Kept, contents_from, contents_of, is_plain
from coeffdream.records.files import sha256_of_file

# Of a run's files those that say how far it is: they come last, for whoever copies the address with another tool.
MARKS = ("images.jsonl", "run.json", "scores.json")
NO_ROOM = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


class Store:
    """The study at `address`, as a machine sees it that makes cells in `folder`."""

    def __init__(self, address: str, folder: Path) -> None:
        """Reaches nobody yet."""
        self.address, self.folder = address, folder.resolve()
        self._hashed: dict[Path, tuple[int, int, str]] = {}
        # Where the pictures lie that were taken over from another cell, by sha256.
        self._of_others: dict[str, str] = {}

    @cached_property
    def _place(self) -> tuple[Any, str]:
        """Raises ConfigError on a machine that has no package for the address."""
        return opened(self.address)

    @property
    def _fs(self) -> Any:
        return self._place[0]

    # The cells.

    def contents(self, cell: str) -> dict[str, Kept]:
        """What is there of a cell. Raises RunError when it is damaged, or the store is out of reach."""
        place = f"contents/{cell}.json"
        data = self.read(place)
        return {} if data is None else self._contents(data, place)

    def all_contents(self) -> dict[str, dict[str, Kept]]:
        """Of every cell."""
        with self.reaching("read"):
            self._fs.invalidate_cache()
            listed: list[str] = []
            with contextlib.suppress(FileNotFoundError):
                listed = [each for each in self._fs.find(self._at("contents")) if each.endswith(".json")]
            found = self._fs.cat(listed) if listed else {}
        names = {each: each.rpartition("/")[2].removesuffix(".json") for each in found}
        return {names[each]: self._contents(found[each], f"contents/{names[each]}.json") for each in found}

    def bring(self, cell: str, wanted: Callable[[str], bool] = lambda name: True) -> dict[str, Kept]:
        """Have the files of a cell here as they are there; what is there. What is here of the run and not there stays,
        unless the run here is another training, or an older state of it: that is moved to left-over/.

        Raises RunError for a file that is not what was sent.
        """
        there, run = self.contents(cell), self._run(cell)
        if self._is_another(run, there) and not set(_files(run)) <= there.keys():
            self.set_aside(cell)
        missing = [
            name for name, kept in there.items() if wanted(name) and self._sha256(run / name) != kept.sha256
        ]
        places = {name: there[name].at or f"runs/{cell}/{name}" for name in missing}
        targets = {name: run / name for name in missing}
        with contextlib.ExitStack() as until_moved:
            coming = {name: _beside(target) for name, target in targets.items()}
            for each in coming.values():
                each.parent.mkdir(parents=True, exist_ok=True)
                until_moved.callback(each.unlink, missing_ok=True)
            self._get([places[name] for name in missing], [coming[name] for name in missing])
            for name, path in coming.items():
                if sha256_of_file(path) != there[name].sha256:
                    raise RunError(
                        f"{self.address}/{places[name]} is not what was sent there; remove {self.address}/contents/"
                        f"{cell}.json and runs/{cell} of the study's folder, and that cell is made anew"
                    )
            for name in _marks_last(missing):
                coming[name].replace(targets[name])
        return there

    def send(self, cell: str) -> None:
        """Have the files of a cell there as they are here; what is there alone stays. Does nothing for what is there."""
        there, run = self.contents(cell), self._run(cell)
        here = {name: self._kept(name, run / name) for name in _files(run)}
        changed = [
            name for name, kept in here.items() if name not in there or there[name].sha256 != kept.sha256
        ]
        if not changed:
            return
        if any(name in there for name in changed):  # until it is whole again, nobody may count on it
            there = {name: kept for name, kept in there.items() if name not in changed}
            self.write(f"contents/{cell}.json", contents_of(there.values()))
        names = [name for name in _marks_last(changed) if not here[name].at]
        marks = [name for name in names if name.endswith(MARKS)]
        for part in ([name for name in names if name not in marks], marks):
            self._put([run / name for name in part], [f"runs/{cell}/{name}" for name in part])
        there |= {name: here[name] for name in changed}
        self.write(f"contents/{cell}.json", contents_of(there.values()))

    def set_aside(self, cell: str) -> None:
        """Move what is here of a run out of the way."""
        run = self._run(cell)
        if not run.is_dir() or is_husk(run):
            return
        aside = self.folder / "left-over"
        aside.mkdir(parents=True, exist_ok=True)
        run.rename(aside / f"{cell}.{secrets.token_hex(4)}")

    # What is made once for all cells.

    def fetch(self, path: Path) -> None:
        """Have a file of shared/, or the set of a run, here if it is there: another machine may have made it."""
        name = path.resolve().relative_to(self.folder).as_posix()
        folder, _, rest = name.partition("/")
        if folder != "runs":
            if not path.exists() and (data := self.read(name)) is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                (coming := _beside(path)).write_bytes(data)
                coming.replace(path)
            return
        cell, _, of_set = rest.partition("/")
        with in_turn(self.folder / "shared" / "coming" / cell, "bringing pictures"):
            there = self.bring(cell, lambda file: file.startswith(f"{of_set}/"))
        for file, kept in there.items():
            if file.startswith(f"{of_set}/") and file.endswith(".png"):
                self._of_others[kept.sha256] = kept.at or f"runs/{cell}/{file}"

    def share(self, since: float) -> None:
        """Send the files of shared/ that were written `since`, a time.time()."""
        shared = self.folder / "shared"
        new = [name for name in _files(shared) if (shared / name).stat().st_mtime >= since]
        self._put([shared / name for name in new], [f"shared/{name}" for name in new])

    # Single files.

    def read(self, place: str) -> bytes | None:
        """None where there is none. Raises RunError when the store is out of reach."""
        with self.reaching("read"):
            try:
                data: bytes = self._fs.cat_file(self._at(place))
            except FileNotFoundError:
                return None
        return data

    def write(self, place: str, data: bytes) -> None:
        """Whole or not at all. Raises RunError."""
        with self.reaching("written"):
            path = self._at(place)
            if self._fs.async_impl:  # an object store, which shows no half of an object
                self._fs.pipe_file(path, data)
                return
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._fs.pipe_file(unfinished := f"{path}.{secrets.token_hex(4)}.part", data)
            self._fs.mv(unfinished, path)

    def remove(self, place: str) -> None:
        with self.reaching("written"), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._at(place))

    # Below.

    @contextlib.contextmanager
    def reaching(self, done: str) -> Iterator[None]:
        """Whatever a storage raises, in one line."""
        try:
            yield
        except CoeffdreamError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in NO_ROOM:
                raise
            why = " ".join(str(error).split())[:200] or type(error).__name__
            raise RunError(
                f"{self.address} cannot be {done} ({type(error).__name__}: {why}); see that it is there and that this "
                "machine may use it, then run the same command again"
            ) from None

    def _get(self, places: Sequence[str], paths: Sequence[Path]) -> None:
        if places:
            with self.reaching("read"):
                self._fs.get([self._at(each) for each in places], [str(path) for path in paths])

    def _put(self, paths: Sequence[Path], places: Sequence[str]) -> None:
        if not paths:
            return
        with self.reaching("written"):
            to = [self._at(each) for each in places]
            if not self._fs.async_impl:
                for parent in {each.rpartition("/")[0] for each in to}:
                    self._fs.makedirs(parent, exist_ok=True)
            self._fs.put([str(path) for path in paths], to)

    def _at(self, place: str) -> str:
        return f"{self._place[1]}/{place}"

    def _run(self, cell: str) -> Path:
        if not is_plain(cell) or "/" in cell:
            raise RunError(f"{cell!r:.80} is no name of a cell")
        return self.folder / "runs" / cell

    def _contents(self, data: bytes, place: str) -> dict[str, Kept]:
        return contents_from(data, f"{self.address}/{place}")

    def _kept(self, name: str, path: Path) -> Kept:
        sha256 = self._sha256(path)
        assert sha256 is not None
        return Kept(name, path.stat().st_size, sha256, self._of_others.get(sha256, ""))

    def _is_another(self, run: Path, there: Mapping[str, Kept]) -> bool:
        here = self._sha256(run / "run.json")
        return here is not None and "run.json" in there and here != there["run.json"].sha256

    def _sha256(self, path: Path) -> str | None:
        """Read anew only where it was written since; None for what is no file."""
        if not path.is_file():
            return None
        stat = path.stat()
        known = self._hashed.get(path)
        if known is None or known[:2] != (stat.st_size, stat.st_mtime_ns):
            known = stat.st_size, stat.st_mtime_ns, sha256_of_file(path)
            self._hashed[path] = known
        return known[2]


def _files(folder: Path) -> list[str]:
    """What lies in a folder, but for claims and unfinished files, as paths seen from it."""
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if is_plain(name) and path.is_file() and not path.is_symlink():
            found.append(name)
    return found


def _marks_last(names: Sequence[str]) -> list[str]:
    return sorted(names, key=lambda name: (name.endswith(MARKS), name))


def _beside(path: Path) -> Path:
    """As `replacing` calls a file on its way, so that what a kill leaves of it goes with the next claim."""
    return path.with_name(f".{path.stem[:40]}.{secrets.token_hex(4)}{path.suffix}")
