"""Which tests run which line, and how much processor time each takes: measured with coverage.py, then kept."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from child import OPTIONS, in_a_fork

ROOT = Path(__file__).parents[2]


class Covering:
    """`seconds[test]`, and for each line the tests that ran it, or set up something shared that did.

    Kept in a folder, a file for each file of tests, until that file, a conftest, the code it was measured on or
    this one changes.
    """

    def __init__(self, kept: Path) -> None:
        self.seconds: dict[str, float] = {}
        self._kept = kept
        self._by_line: dict[tuple[str, int], set[str]] = {}
        self._loading: set[tuple[str, int]] = set()
        self._known: set[str] = set()

    def measure(self, folder: str, files: Sequence[str]) -> None:
        """Know which lines of some source files the tests of a folder run: tests/training, say."""
        if folder in self._known:
            return
        keys = {
            file.relative_to(ROOT).as_posix(): self._key(file, files)
            for file in sorted((ROOT / folder).rglob("test_*.py"))
        }
        stale = [name for name, key in keys.items() if self._saved(name).get("key") != key]
        if stale:
            print(f"measuring which lines are run by the tests in {', '.join(stale)}", flush=True)
            in_a_fork(lambda: self._run(stale, keys, files), self._kept / "measuring.log")
        for name, key in keys.items():
            saved = self._saved(name)
            if saved.get("key") != key:
                raise SystemExit(f"{name} was not measured; {self._kept / 'measuring.log'} says why")
            self.seconds |= saved["seconds"]
            tests = list(saved["seconds"])
            for file, loading in saved["loading"].items():
                self._loading.update((file, line) for line in loading)
            for file, lines in saved["lines"].items():
                for line, numbers in lines.items():
                    self._by_line.setdefault((file, int(line)), set()).update(tests[n] for n in numbers)
        self._known.add(folder)

    def tests_of(self, file: str, lines: tuple[int, int]) -> list[str]:
        """The known tests that ran any of the lines, quickest first."""
        ran = (self._by_line.get((file, line), set()) for line in range(lines[0], lines[1] + 1))
        return self.quickest_first(set().union(*ran))

    def ran_on_loading(self, file: str, lines: tuple[int, int]) -> bool:
        """Whether any of the lines ran before the first test: what is inside a function that a module calls."""
        return any((file, line) in self._loading for line in range(lines[0], lines[1] + 1))

    def quickest_first(self, tests: set[str]) -> list[str]:
        return sorted(tests, key=lambda test: (self.seconds[test], test))

    def _key(self, file: Path, files: Sequence[str]) -> str:
        shared = [folder / "conftest.py" for folder in file.parents if (folder / "conftest.py").is_file()]
        texts = (
            each.read_bytes() for each in [file, *shared, Path(__file__), *(ROOT / name for name in files)]
        )
        return hashlib.sha256(b"".join(hashlib.sha256(text).digest() for text in texts)).hexdigest()

    def _saved(self, name: str) -> dict[str, Any]:
        file = self._kept / f"{name.replace('/', '-')}.json"
        return json.loads(file.read_text()) if file.is_file() else {}

    def _run(self, names: list[str], keys: dict[str, str], files: Sequence[str]) -> int:
        import coverage

        watched = coverage.Coverage(
            data_file=None, include=[str(ROOT / file) for file in files], config_file=False
        )
        watch = _Watch(watched)
        watched.start()
        status = pytest.main([*OPTIONS, *names], plugins=[watch])
        watched.stop()
        data = watched.get_data()
        contexts = {file: data.contexts_by_lineno(str(ROOT / file)) for file in files}
        loading = {
            file: [line for line, of_line in by_line.items() if "" in of_line]
            for file, by_line in contexts.items()
        }
        for name in names:
            tests = [test for test in watch.seconds if test.startswith(f"{name}::")]
            number = {test: index for index, test in enumerate(tests)}
            lines = {
                file: {
                    line: sorted({number[t] for each in of_line for t in watch.users(each) if t in number})
                    for line, of_line in by_line.items()
                }
                for file, by_line in contexts.items()
            }
            saved = {
                "key": keys[name],
                "seconds": {test: watch.seconds[test] for test in tests},
                "lines": lines,
                "loading": loading,
            }
            (self._kept / f"{name.replace('/', '-')}.json").write_text(json.dumps(saved))
        return int(status)


class _Watch:
    """A pytest plugin: tells coverage.py which test runs. What sets up a shared fixture belongs to all its users."""

    def __init__(self, coverage: Any) -> None:
        self.seconds: dict[str, float] = {}
        self._coverage = coverage
        self._contexts = [""]
        self._fixtures: dict[str, set[str]] = {}
        self._failed: set[str] = set()

    def users(self, context: str) -> list[str]:
        """The passed tests that a context stands for."""
        fixture = context.removeprefix("fixture ")
        if fixture != context:
            return [test for test in self.seconds if fixture in self._fixtures[test]]
        return [context] if context in self.seconds else []

    @contextlib.contextmanager
    def _context(self, name: str) -> Iterator[None]:
        self._contexts.append(name)
        self._coverage.switch_context(name)
        try:
            yield
        finally:
            self._contexts.pop()
            self._coverage.switch_context(self._contexts[-1])

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        started = time.process_time()
        with self._context(item.nodeid):
            result = yield
        if item.nodeid not in self._failed:
            self.seconds[item.nodeid] = round(time.process_time() - started, 3)
            self._fixtures[item.nodeid] = set(getattr(item, "fixturenames", ()))
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Any:
        if fixturedef.scope == "function":
            return (yield)
        with self._context(f"fixture {fixturedef.argname}"):
            return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.passed:
            self._failed.add(report.nodeid)
