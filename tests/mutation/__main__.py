"""A mutation run: does a test fail when the code is made wrong?

    .venv/bin/python tests/mutation --seed 1 --count 150

A sample of small wrong versions of the core rooms is tested, each in a forked process and never on disk:
by the tests of the mirrored room that run the changed line, and with --above by those of the rooms above where
these let it live. Results are kept as they come, so that a run that was stopped goes on. equivalent.toml lists
changes that change nothing. With --planted nothing is sampled: the errors of planted.toml must each make its own
test fail.

mutmut leaves out every function with a decorator (torch.no_grad, property) and replaces signatures that
diffusers reads; cosmic-ray writes into the source and would import torch and diffusers anew for each mutant.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

sys.path.insert(0, str(Path(__file__).parent))
os.environ["OMP_NUM_THREADS"] = "1"  # before torch: the models of the tests are tiny

from child import load_libraries, run_tests
from covering import ROOT, Covering
from mutants import Mutant, compiled, hashed, mutants_of, sampled
from planted import plant, planted_in

ROOMS = ("diffusion", "compare", "metrics", "adapters", "attention", "training")
ABOVE = ("tests/generation", "tests/flow", "tests/cli")
# Triton compiles the text of its own file, and its kernels run on a GPU: tests/attention -m gpu.
LEFT_OUT = ("triton_forward.py", "triton_backward.py", "triton_common.py")
MOST_SECONDS_ABOVE = 60.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests/mutation", description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--count", type=int, default=150, help="how many mutants; 0: all")
    parser.add_argument("--only", default="", help="files whose path holds this, e.g. training/step")
    parser.add_argument("--again", action="store_true", help="test the survivors of an earlier run again")
    parser.add_argument("--above", action="store_true", help=f"ask {', '.join(ABOVE)} about survivors, too")
    parser.add_argument("--planted", action="store_true", help="plant the errors of planted.toml instead")
    parser.add_argument("--results", type=Path, default=ROOT / ".mutation", help="folder of the results")
    given = parser.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    given.results.mkdir(parents=True, exist_ok=True)
    if given.planted:
        load_libraries()
        sys.exit(not plant(planted_in(Path(__file__).parent / "planted.toml"), ROOT, given.results))

    sources = _sources()
    everything = [
        mutant for file, text in sources.items() for mutant in mutants_of(file, text) if given.only in file
    ]
    sample = sampled(everything, given.seed, given.count)
    kept = Results(given.results / "results.jsonl", sources)
    todo = [
        m for m in sample if kept.of(m) is None or (given.again and str(kept.of(m)).startswith("survived"))
    ]
    todo.sort(key=lambda mutant: ROOMS.index(_room(mutant)))  # each room's tests are measured when needed
    print(f"{len(everything)} mutants, a sample of {len(sample)}, {len(todo)} still to be tested", flush=True)
    if todo:
        load_libraries()
        covering = Covering(given.results)
        for number, mutant in enumerate(todo, start=1):
            verdict = tested(mutant, sources, covering, given)
            kept.add(mutant, verdict)
            print(f"{number}/{len(todo)} {described(mutant)}: {verdict}", flush=True)
    report(sample, kept, sources)


def tested(mutant: Mutant, sources: dict[str, str], covering: Covering, given: argparse.Namespace) -> str:
    """The verdict on one mutant: of its own room's tests, and if asked for of those above."""
    code = compiled(mutant, sources[mutant.file], str(ROOT / mutant.file))
    verdict = "survived: no test runs this line"
    for tests in _suites(mutant, sources, covering, above=given.above):
        allowed = 30 + 5 * sum(covering.seconds[test] for test in tests)
        verdict = run_tests(tests, code, ROOT / mutant.file, given.results, allowed)
        if verdict != "survived":
            break
    return verdict


def _suites(
    mutant: Mutant, sources: dict[str, str], covering: Covering, *, above: bool
) -> Iterator[list[str]]:
    room = f"tests/{_room(mutant)}"
    own_files = [file for file in sources if file.split("/")[1] == _room(mutant)]
    covering.measure(room, own_files)
    of_the_room = {test for test in covering.seconds if test.startswith(f"{room}/")}
    covered = of_the_room.intersection(covering.tests_of(mutant.file, mutant.lines))
    # On what runs when a module is loaded all tests of the room may depend.
    loading = mutant.runs_on_import or covering.ran_on_loading(mutant.file, mutant.lines)
    if own := covering.quickest_first(of_the_room if loading else covered):
        yield own
    for folder in ABOVE if above else ():
        covering.measure(folder, list(sources))
        found = [t for t in covering.tests_of(mutant.file, mutant.lines) if t.startswith(f"{folder}/")]
        spent = itertools.accumulate(covering.seconds[test] for test in found)
        if chosen := [test for test, total in zip(found, spent, strict=True) if total <= MOST_SECONDS_ABOVE]:
            yield chosen


class Results:
    """Verdicts by mutant, one a line in a file; those on an older text of a source file do not count."""

    def __init__(self, file: Path, sources: dict[str, str]) -> None:
        self._file = file
        self._versions = {name: hashed(text)[:16] for name, text in sources.items()}
        self._verdicts: dict[tuple[str, str, int], str] = {}
        for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
            row = json.loads(line)
            self._verdicts[row["file"], row["version"], row["ordinal"]] = row["verdict"]

    def of(self, mutant: Mutant) -> str | None:
        return self._verdicts.get((mutant.file, self._versions[mutant.file], mutant.ordinal))

    def add(self, mutant: Mutant, verdict: str) -> None:
        version = self._versions[mutant.file]
        self._verdicts[mutant.file, version, mutant.ordinal] = verdict
        row = {"file": mutant.file, "version": version, "ordinal": mutant.ordinal, "line": mutant.line}
        row |= {"before": mutant.before, "after": mutant.after, "verdict": verdict}
        with self._file.open("a") as opened:
            opened.write(json.dumps(row) + "\n")


def report(sample: list[Mutant], kept: Results, sources: dict[str, str]) -> None:
    """Counts by room, then each survivor with its line, its change, and why where that is known."""
    known = tomllib.loads((Path(__file__).parent / "equivalent.toml").read_text(encoding="utf-8"))[
        "equivalent"
    ]
    reasons = {(row["file"], row["line"], row["before"], row["after"]): row["why"] for row in known}
    survivors = [mutant for mutant in sample if str(kept.of(mutant)).startswith("survived")]
    total, left = (Counter(map(_room, of)) for of in (sample, survivors))
    for room in ROOMS:
        if total[room]:
            print(f"{room:10} {total[room] - left[room]:4} of {total[room]:4} killed")
    share = 100 * (len(sample) - len(survivors)) / len(sample)
    print(f"{len(sample) - len(survivors)} of {len(sample)} killed: {share:.1f} %")
    for mutant in survivors:
        line = sources[mutant.file].splitlines()[mutant.line - 1].strip()
        why = reasons.get((mutant.file, line, mutant.before, mutant.after))
        print(f"survived {described(mutant)}" + (f"\n    {why}" if why else ""))


def described(mutant: Mutant) -> str:
    return f"{mutant.file}:{mutant.line}  {mutant.before}  ->  {mutant.after}"


def _room(mutant: Mutant) -> str:
    return Path(mutant.file).parts[1]


def _sources() -> dict[str, str]:
    files = [file for room in ROOMS for file in sorted((ROOT / "coeffdream" / room).rglob("*.py"))]
    kept = [file for file in files if file.name not in LEFT_OUT and file.stat().st_size]
    return {file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8") for file in kept}


if __name__ == "__main__":
    main()
