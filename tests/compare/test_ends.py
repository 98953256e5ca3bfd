"""Floor and ceiling of a comparison: no number stands alone, and none stands beside what it cannot be compared with."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coeffdream.compare.comparison import compare
from coeffdream.compare.ends import CEILING, FLOOR
from coeffdream.compare.pairing import pair_by_method

from .conftest import scored_run


def with_ends(run, *, floor: float, ceiling: float | None = None):
    """The run with the untouched base's scores, all `floor`, and those of its three photos."""
    overall = run.scores.overall
    scored = dict.fromkeys(("text_alignment", "concept_alignment", "dino_alignment", "diversity"))
    base = replace(overall, **dict.fromkeys(scored, floor))
    photos = replace(
        overall,
        **{**dict.fromkeys(scored, ceiling), "text_alignment": None},
        n=3,
        prompts=0,
        images_per_prompt=0,
    )
    ends = {"floor": base, "ceiling": None if ceiling is None else photos}
    return replace(run, scores=replace(run.scores, **ends))


@pytest.fixture
def compared():
    def call(floors: dict[str, float], ceilings: dict[str, float]):
        runs = [
            with_ends(scored_run(method, concept), floor=floors[concept], ceiling=ceilings.get(concept))
            if concept in floors
            else scored_run(method, concept)
            for method in ("lora", "coeff-lora")
            for concept in ("cat", "dog")
        ]
        return compare(pair_by_method(runs))

    return call


def test_they_are_means_over_the_concepts(compared):
    """Each concept's own among them. Diversity of three photos is not that of a set of pictures."""
    found = compared({"cat": 0.2, "dog": 0.4}, {"cat": 0.8, "dog": 0.9})
    assert [end.label for end in found.ends] == [FLOOR, CEILING]
    floor, ceiling = found.ends
    assert floor.mean("concept_alignment", found.concepts) == pytest.approx(0.3)
    assert floor.by_concept["diversity"] == {"cat": 0.2, "dog": 0.4}
    assert ceiling.mean("concept_alignment", found.concepts) == pytest.approx(0.85)
    assert "text_alignment" not in ceiling.by_concept
    assert "diversity" not in ceiling.by_concept


def test_a_concept_without_leaves_its_mean_out(compared):
    """A mean of some concepts beside one of all would mislead."""
    found = compared({"cat": 0.2, "dog": 0.4}, {"cat": 0.8})
    ceiling = found.ends[1]
    assert ceiling.by_concept["concept_alignment"] == {"cat": 0.8}
    assert ceiling.mean("concept_alignment", found.concepts) is None


def test_none_where_nothing_was_scored(compared):
    """Then there are no rows."""
    assert compared({}, {}).ends == []
