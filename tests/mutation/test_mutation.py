"""The mutation run's own parts: which changes are made, and that a failing test is what kills."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).parent


@pytest.fixture
def mutants(monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    import mutants

    return mutants


@pytest.fixture
def planted(monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    import planted

    return planted


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("x = a < b", ["a <= b"]),
        ("x = a == b != c", ["a != b != c", "a == b == c"]),
        ("x = a is None", ["a is not None"]),
        ("x = a + b // 2", ["a - b // 2", "b * 2", "3"]),
        ("x = a and not b", ["a or not b", "b"]),
        ("x = -1.5", ["1.5", "3.0"]),
        ("x = True", ["False"]),
        ("x = a if b else c", ["not b"]),
        ("x = a if b is c else d", ["b is not c"]),
        ("x = [a for a in b if a > 0]", ["True", "a >= 0", "1"]),
        ("f(a, b)", ["pass", "without b"]),
        ("x = f(a, axis=b)", ["without axis=b"]),
        ("x.y = a", ["pass"]),
        ("x += a", ["pass", "x -= a"]),
        ("return x", ["return None"]),
        ("raise a(1 + 1)", ["pass"]),
        ("x = f'{a}-noise'", ["f'-noise'"]),
        ("x = f'{a} pictures'", []),
        ("x: A | B = a", []),
        ("assert a > 1", []),
        ("x = zip(a, b, strict=True)", ["without b"]),
    ],
)
def test_the_changes_of_a_line(mutants, code, changes):
    """One thing at a time; not what is said, promised to a type checker, or out of a test's sight."""
    found = mutants.mutants_of("one.py", f'def g():\n    """A + b."""\n    {code}\n')
    assert sorted(mutant.after for mutant in found) == sorted(changes)
    assert all(mutant.line == 3 and not mutant.runs_on_import for mutant in found)


def test_a_mutant_is_the_source_with_one_change(mutants):
    """And it is the one that was listed."""
    source = "LEVEL = 2\n\ndef over(x, least=1):\n    return x - least > LEVEL\n"
    expected = {
        ("2", "3"): [False, True, False],
        ("1", "2"): [False, True, False],
        ("return x - least > LEVEL", "return None"): [None] * 3,
        ("x - least > LEVEL", "x - least >= LEVEL"): [True, True, False],
        ("x - least", "x + least"): [True, True, True],
    }
    found = mutants.mutants_of("one.py", source)
    assert [(mutant.before, mutant.after) for mutant in found if mutant.runs_on_import] == [
        ("2", "3"),
        ("1", "2"),
    ]
    told = {}
    for mutant in found:
        names: dict = {}
        exec(mutants.compiled(mutant, source, "one.py"), names)
        told[mutant.before, mutant.after] = [names["over"](x) for x in (3, 5, 2)]
    assert told == expected


def test_a_sample_stays_where_the_code_stays(mutants):
    """Lines that move, or a function put before, change what is sampled only by what they add."""
    lines = [f"x{index} = a < {index}" for index in range(40)]
    before = mutants.sampled(mutants.mutants_of("one.py", "\n".join(lines)), 1, 30)
    moved = mutants.sampled(mutants.mutants_of("one.py", "\n".join(["", "y = -z", *lines])), 1, 30)
    other = mutants.sampled(mutants.mutants_of("one.py", "\n".join(lines)), 2, 30)
    changes, of_moved, of_other = ({(m.before, m.after) for m in of} for of in (before, moved, other))
    assert len(before) == len(changes) == 30
    assert len(changes & of_moved) >= 28
    assert len(changes & of_other) < 25
    assert len(mutants.sampled(before, 1, 0)) == 30


def test_what_is_called_equivalent_is_still_there(mutants):
    """A reason that no change has any more would hide nothing, but mislead who reads it."""
    known = tomllib.loads((HERE / "equivalent.toml").read_text(encoding="utf-8"))["equivalent"]
    assert known
    for row in known:
        source = (HERE.parents[1] / row["file"]).read_text(encoding="utf-8")
        lines = source.splitlines()
        assert row["why"]
        assert (row["line"], row["before"], row["after"]) in {
            (lines[mutant.line - 1].strip(), mutant.before, mutant.after)
            for mutant in mutants.mutants_of(row["file"], source)
        }


def run_program(program, folder):
    """A program that runs pytest, without the plugins that its tests do not need and each fork would import anew."""
    without = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=folder, env=without, capture_output=True, text=True, check=True)


WRONG_OR_NOT = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
from child import run_tests
from mutants import compiled, mutants_of
folder, file = Path("."), Path("counting.py").resolve()
for mutant in mutants_of("counting.py", file.read_text()):
    code = compiled(mutant, file.read_text(), str(file))
    print(mutant.after, "=", run_tests(["test_counting.py"], code, file, folder, seconds=2))
"""


def test_a_failing_test_kills_and_an_endless_one_too(tmp_path):
    """The file on disk stays as it is; what no test sees survives."""
    source = "def count(n):\n    while n > 0:\n        n -= 1\n    unseen = 1\n    return n\n"
    (tmp_path / "counting.py").write_text(source)
    (tmp_path / "test_counting.py").write_text(
        "import counting\n\ndef test_count():\n    assert counting.count(3) == 0\n"
    )
    program = WRONG_OR_NOT.format(paths=[str(HERE), str(tmp_path)])
    done = run_program(program, tmp_path)
    assert done.stdout.splitlines() == [
        "n >= 0 = killed by test_counting.py::test_count",
        "1 = killed by test_counting.py::test_count",
        "pass = timeout",
        "n += 1 = timeout",
        "2 = killed by test_counting.py::test_count",
        "2 = survived",
        "return None = killed by test_counting.py::test_count",
    ]
    assert (tmp_path / "counting.py").read_text() == source


SEEN_OR_NOT = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
import covering
covering.ROOT = Path.cwd()
seen = covering.Covering(Path("."))
seen.measure("tests", ["counting.py"])
for line in (2, 5, 8):
    print(seen.tests_of("counting.py", (line, line)), seen.ran_on_loading("counting.py", (line, line)))
"""


def test_which_tests_run_a_line(tmp_path):
    """And which lines run before any of them: what a module calls while it is loaded is no test's own, yet run."""
    (tmp_path / "counting.py").write_text(
        "def one():\n    return 1\n\ndef two():\n    return 2\n\ndef three():\n    return 3\n\nONE = one()\n"
    )
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_counting.py").write_text(
        "import counting\n\ndef test_two():\n    assert counting.two() == 2\n"
    )
    done = run_program(SEEN_OR_NOT.format(paths=[str(HERE), str(tmp_path)]), tmp_path)
    assert done.stdout.splitlines()[1:] == [
        "[] True",
        "['tests/test_counting.py::test_two'] False",
        "[] False",
    ]


def test_what_is_planted_can_be(planted):
    """Each error still has its place, is code, and has its test: else it would be found out in a long run only."""
    root = HERE.parents[1]
    errors = planted.planted_in(HERE / "planted.toml")
    assert len({error.name for error in errors}) == len(errors) > 0
    for error in errors:
        source = (root / error.file).read_text(encoding="utf-8")
        assert source.count(error.text) == 1, error.name
        compile(source.replace(error.text, error.becomes), error.file, "exec")
        file, *_, test = error.test.split("::")
        assert f"def {test}(" in (root / file).read_text(encoding="utf-8"), error.name


PLANTED_OR_NOT = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
from planted import Planted, plant
file, test = "counting.py", "test_counting.py::test_"
errors = [
    Planted("seen", file, "n - 1", "n - 2", test + "down"),
    Planted("unseen", file, "n - 1", "n - 2", test + "nothing"),
    Planted("skipped", file, "n - 1", "n - 2", test + "skipped"),
    Planted("already", file, "n - 1", "n - 2", test + "wrong"),
    Planted("gone", file, "n - 3", "n - 2", test + "down"),
    Planted("twice", file, "n", "m", test + "down"),
    Planted("no module", file, "n - 1", "n - 1\\n1 / 0", test + "down"),
]
print(*(plant(some, Path.cwd(), Path(".")) for some in (errors, errors[:1])))
"""


def test_a_planted_error_must_fail_its_own_test(tmp_path):
    """Neither a test that fails anyway, nor one that is skipped or cannot be loaded, counts as one that sees it."""
    source = "def down(n):\n    return n - 1\n"
    (tmp_path / "counting.py").write_text(source)
    (tmp_path / "test_counting.py").write_text(
        "import pytest\nimport counting\n\n"
        "def test_down():\n    assert counting.down(3) == 2\n\n"
        "def test_nothing():\n    pass\n\n"
        "def test_skipped():\n    pytest.skip('what would see it is not here')\n\n"
        "def test_wrong():\n    assert counting.down(3) == 1\n"
    )
    program = PLANTED_OR_NOT.format(paths=[str(HERE), str(tmp_path)])
    done = run_program(program, tmp_path)
    assert [line for line in done.stdout.splitlines() if not line.startswith(" ")] == [
        "killed: seen",
        "SURVIVED: unseen",
        "SURVIVED: skipped",
        "NOT PLANTED: its test fails without it: already",
        "NOT PLANTED: counting.py holds its text 0 times: gone",
        "NOT PLANTED: counting.py holds its text 4 times: twice",
        "NO VERDICT: killed by test_counting.py: no module",
        "1 of 7 planted errors killed",
        "killed: seen",
        "1 of 1 planted errors killed",
        "False True",
    ]
    assert (tmp_path / "counting.py").read_text() == source
