"""Runs grouped by method, or by the arms of their study: which cells count, in which order, against which twin."""

from __future__ import annotations

import dataclasses
import json
import random
from dataclasses import replace
from itertools import permutations

import pytest

from coeffdream.compare.comparison import compare
from coeffdream.compare.pairing import pair_by_arm, pair_by_method
from coeffdream.errors import ScoreError
from coeffdream.records.fields import record_to_json
from coeffdream.records.files import write_json
from coeffdream.records.study_plan import Study


class TestByMethod:
    """Groups matched on concept and training seed."""

    def test_cells_stand_in_one_order(self, study):
        """Whatever order the runs are given in, a baseline's run meets the run of its own cell."""
        runs = study(3, 2)
        pairing = pair_by_method([*runs[:6], *reversed(runs[6:])])
        one, two = pairing.groups
        assert [one.label, two.label] == ["lora", "coeff-lora"]
        for concept in pairing.concepts:
            assert [run.seed for run in one.runs[concept]] == [run.seed for run in two.runs[concept]]
            assert {run.concept for run in one.runs[concept] + two.runs[concept]} == {concept}

    def test_the_plain_twin_is_the_baseline_in_any_order(self, made):
        """A shell's runs/* names coeff-lora before lora; the difference must not turn round."""
        runs = [made(method) for method in ("coeff-dora", "dora", "coeff", "coeff-lora", "lora")]
        for order in permutations(runs):
            pairing = pair_by_method(order)
            assert [group.label for group in pairing.groups] == [
                "lora",
                "coeff-lora",
                "dora",
                "coeff-dora",
                "coeff",
            ]
            baselines = {group.label: pairing.baseline_of(group).label for group in pairing.groups[1:]}
            assert baselines == {"coeff-lora": "lora", "dora": "lora", "coeff-dora": "dora", "coeff": "lora"}

    def test_the_order_of_the_runs_changes_no_digit(self, study, made):
        """Draws go by place: the same runs named in another order must print the same table and notes."""
        runs = [*study(3, 2), made("lora", "alone"), made("coeff-lora", "also alone")]
        tables = set()
        for seed in range(6):
            random.Random(seed).shuffle(runs)
            comparison = compare(pair_by_method(runs), resamples=200)
            tables.add(json.dumps(dataclasses.asdict(comparison)))
        assert len(tables) == 1

    def test_a_study_keeps_its_own_order(self, study):
        """Its table is that of its plan, also where a concept is left out."""
        runs = study(3, 1)
        assert pair_by_method(runs[::-1], ["thing2", "elsewhere", "thing0"]).concepts == [
            *("thing2", "thing0", "thing1")
        ]

    def test_unmatched_runs_are_left_out_and_named(self, study, made):
        """A method must not gain from an easy concept that the other never saw."""
        pairing = pair_by_method([*study(2, 1), made("lora", "easy")])
        assert pairing.concepts == ["thing0", "thing1"]
        assert "left out, not matched on concept and training seed: easy-lora-0" in pairing.notes

    def test_nothing_in_common(self, made):
        """No cell of both."""
        with pytest.raises(ScoreError, match="no concept and training seed in common"):
            pair_by_method([made("lora", "cat"), made("dora", "dog")])

    def test_a_cell_twice(self, made):
        """Which of the two is meant is not for us to guess."""
        with pytest.raises(ScoreError, match="cat-lora-0 and again are both lora on 'cat'"):
            pair_by_method([made(), made("dora"), made(name="again")])

    def test_one_method_of_two_sizes(self, made):
        """A row has one number of parameters."""
        other = made("lora", "dog")
        source = other.scores.source
        larger = replace(source, parameters=replace(source.parameters, percent=0.5))
        other = replace(other, scores=replace(other.scores, source=larger))
        with pytest.raises(ScoreError, match=r"percent\) is 0\.0306 in cat-lora-0, 0\.5 in dog-lora-0"):
            pair_by_method([made(), other, made("dora"), made("dora", "dog")])

    def test_concepts_may_have_prompts_of_their_own(self, made):
        """Live and object prompts in one study: what must agree is each concept's own."""
        runs = [made(m, c, prompts=p) for m in ("lora", "dora") for c, p in (("cat", 5), ("mug", 6))]
        assert pair_by_method(runs).concepts == ["cat", "mug"]


class TestRunsOfAStudy:
    """A part of it is compared as the whole is: by arm, with what the study says each is compared with."""

    @pytest.fixture
    def cells(self, made, tmp_path):
        """Two arms of one method and a third on two concepts, in a study that has them in an order of its own."""
        arms = {
            "plain": {"method": "lora"},
            "more": {"method": "lora", "lr": 0.2, "against": "plain"},
            "mixed": {"method": "coeff-lora", "against": "more"},
        }
        plan = Study(["/photos/dog", "/photos/cat"], list(arms), arms)
        write_json(tmp_path / "study.json", record_to_json(plan))
        return [
            replace(
                made(str(arms[cell.arm]["method"]), cell.concept_name, name=cell.name),
                path=tmp_path / "runs" / cell.name,
            )
            for cell in plan.cells
        ]

    def test_by_its_arms(self, cells):
        """In whatever order they are named."""
        pairing = pair_by_arm(cells[::-1])
        assert [group.label for group in pairing.groups] == ["plain", "more", "mixed"]
        assert [pairing.baseline_of(group).label for group in pairing.groups[1:]] == ["plain", "more"]
        assert pairing.concepts == ["dog", "cat"]

    def test_a_part_of_them(self, cells):
        """Without the arm that one is compared with, its method's twin stands in."""
        part = [run for run in cells if "more" not in run.name]
        pairing = pair_by_arm(part)
        assert [group.label for group in pairing.groups] == ["plain", "mixed"]
        assert pairing.baseline_of(pairing.groups[1]).label == "plain"

    def test_beside_a_run_of_elsewhere(self, cells, made):
        """By method, of which two arms have one."""
        with pytest.raises(ScoreError, match="are both lora on 'dog'"):
            pair_by_arm([*cells, made("lora", "cat", seed=1)])
