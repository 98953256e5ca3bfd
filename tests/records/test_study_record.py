"""study.json: what it plans, where its cells lie, and what is refused when it is read."""

from __future__ import annotations

import pytest

from coeffdream.errors import RunError
from coeffdream.records.fields import record_to_json
from coeffdream.records.files import write_json
from coeffdream.records.study import StudyFolder
from coeffdream.records.study_plan import Cell, Study

PLAN = Study(["/photos/cat", "/photos/mug"], ["lora", "coeff-lora"], base="toybox", seeds=2, steps=5)


def test_a_plan_comes_back(tmp_path):
    """Written and read, it is the same."""
    folder = StudyFolder(tmp_path)
    write_json(folder.record_file, record_to_json(PLAN))
    assert folder.read() == PLAN


def test_the_cells_in_order():
    """Every method of a concept and seed before the next, so that pairs are complete early."""
    names = [cell.name for cell in PLAN.cells]
    assert names[:3] == ["cat-lora-seed0", "cat-coeff-lora-seed0", "mug-lora-seed0"]
    assert len(names) == len(set(names)) == 8


def test_where_a_cell_lies(tmp_path):
    """Its run and its log carry its name."""
    folder, cell = StudyFolder(tmp_path), Cell("/photos/cat", "lora", 1)
    assert folder.run(cell).path == tmp_path / "runs" / "cat-lora-seed1"
    assert folder.log(cell) == tmp_path / "logs" / "cat-lora-seed1.log"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is damaged"),
        ("[]", "expected object, got array"),
        ('{"base": "toybox", "concepts": ["a"], "methods": [], "seeds": 1}', "names no methods"),
        (
            '{"base": "toybox", "concepts": [1], "methods": ["lora"], "seeds": 1}',
            r"concepts\[0\] is 1: expected str, got int",
        ),
        (
            '{"base": "toybox", "concepts": ["a/x", "b/x"], "methods": ["lora"], "seeds": 1}',
            "two concepts are called x",
        ),
        (
            '{"base": "toybox", "concepts": ["a"], "methods": ["lora"], "seeds": 0}',
            "seeds 0 must be at least 1",
        ),
    ],
)
def test_what_is_no_plan(text, says, tmp_path):
    """Changed by hand or damaged, it is named with what is wrong."""
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(RunError, match=says) as caught:
        StudyFolder(tmp_path).read()
    assert "study.json" in str(caught.value)
