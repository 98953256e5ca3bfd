"""The comparison's numbers, and how they are shown."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from coeffdream.compare.comparison import _Concept, _resampled, compare, estimates_of
from coeffdream.compare.comparison_table import comparison_table
from coeffdream.compare.export import escaped, to_csv, to_latex
from coeffdream.compare.metrics import MEANS, jackknife_of, table_of
from coeffdream.compare.pairing import pair_by_method, pair_runs
from coeffdream.compare.result import Estimate
from coeffdream.errors import ScoreError
from coeffdream.records.measures import CONCEPT_ALIGNMENT, DIVERSITY, DRIFT
from coeffdream.records.scores import EMBEDDED_LABEL

TEXT = MEANS[0]


@pytest.fixture
def grouped(study):
    """LoRA against a method that is better by .03, six concepts, two seeds."""
    return compare(pair_by_method(study()), resamples=300)


def shown(comparison, width=120):
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(comparison_table(comparison))
    return capture.get()


class TestNumbers:
    """Against plain arithmetic on the runs."""

    def test_means_and_differences(self, study):
        """A concept counts once however many seeds it has; the difference is that of the means."""
        runs = study(3, 2)
        comparison = compare(pair_by_method(runs), resamples=200)
        means = {
            method: np.mean(
                [run.scores.overall.text_alignment for run in runs if run.record.method == method]
            )
            for method in ("lora", "coeff-lora")
        }
        for row in comparison.rows:
            assert row.scores["text_alignment"].value == pytest.approx(means[row.method])
        text = comparison.contrasts[0].differences[0]
        assert text.difference.value == pytest.approx(means["coeff-lora"] - means["lora"])
        assert (text.baseline, text.value) == pytest.approx((means["lora"], means["coeff-lora"]))
        assert text.pairs == 3 * 2 * 10
        assert list(text.by_concept) == ["thing0", "thing1", "thing2"]
        assert np.mean(list(text.by_concept.values())) == pytest.approx(text.difference.value)

    def test_alpha_is_compared_with_its_own_low_rank_method(self, made):
        """coeff-dora less dora is what the paper claims about; coeff-dora less lora mixes two changes."""
        methods = ("lora", "coeff-dora", "dora", "coeff")
        runs = [made(method, f"thing{index}") for method in methods for index in range(3)]
        comparison = compare(pair_by_method(runs), resamples=200)
        titles = ["dora less lora", "coeff-dora less dora", "coeff less lora"]
        assert [contrast.title for contrast in comparison.contrasts] == titles
        alone = compare(pair_by_method([*runs[6:9], *runs[3:6]]), resamples=200)
        assert comparison.contrasts[1] == alone.contrasts[0]

    def test_single_runs_are_compared_with_the_first(self, made):
        """Whoever names a baseline gets that one."""
        comparison = compare(pair_runs([made("lora"), made("dora"), made("coeff-dora")]), resamples=200)
        assert {contrast.baseline for contrast in comparison.contrasts} == {"cat-lora-0"}

    def test_a_concept_counts_once(self, study, made):
        """More training seeds on one concept do not make it weigh more."""
        runs = study(2, 1)
        runs += [
            made(method, "thing0", 1, effect=0.5 * (method != "lora")) for method in ("lora", "coeff-lora")
        ]
        text = compare(pair_by_method(runs), resamples=100).contrasts[0].differences[0]
        assert text.difference.value == pytest.approx(((0.03 + 0.5) / 2 + 0.03) / 2, abs=0.01)

    def test_two_concepts_have_no_interval(self, study):
        """Of two, Student's t makes one that passes every bound a score has; the note says why there is none."""
        comparison = compare(pair_by_method(study(2, 1)), resamples=100)
        estimates = [*comparison.rows[0].scores.values(), comparison.contrasts[0].differences[0].difference]
        assert {(each.low, each.high) for each in estimates} == {(None, None)}
        assert "2 concepts: too few for an interval over concepts" in comparison.notes
        assert compare(pair_by_method(study(3, 1)), resamples=100).rows[0].scores["diversity"].low is not None

    def test_the_effect_is_found(self, grouped):
        """Six concepts of a clear effect: intervals about it, all pairs of sets won, the least p there is."""
        for each in grouped.contrasts[0].differences:
            effect = 0.3 if each.metric == "diversity" else 0.03
            assert 0 < each.difference.low < effect * 1.2
            assert each.difference.high > effect * 0.9
            assert each.win_rate > 0.9
            assert each.p == 2 / 2**6
            assert each.p_holm == pytest.approx(4 * 2 / 2**6)
        assert [each.metric for each in grouped.contrasts[0].differences] == [
            *("text_alignment", "concept_alignment", "dino_alignment", "diversity")
        ]

    def test_pairing_removes_what_is_shared(self, study):
        """The interval of a difference of paired pictures is far narrower than either method's own."""
        comparison = compare(pair_by_method(study(4, 1, noise=0.003)), resamples=200)
        row = comparison.rows[0].scores["text_alignment"]
        difference = comparison.contrasts[0].differences[0].difference
        assert difference.high - difference.low < 0.4 * (row.high - row.low)

    def test_the_order_of_records_does_not_matter(self, study):
        """Pictures are paired by prompt and seed, not by their place in the file."""
        runs = study(2, 1)
        turned = [
            replace(
                run,
                scores=replace(
                    run.scores, per_image=run.scores.per_image[::-1], per_prompt=run.scores.per_prompt[::-1]
                ),
            )
            for run in runs[2:]
        ]
        one, two = (compare(pair_by_method([*runs[:2], *rest]), resamples=100) for rest in (runs[2:], turned))
        assert one == two

    def test_same_seed_same_numbers(self, study):
        """Deterministic; another seed moves the intervals and nothing else."""
        pairing = pair_by_method(study(4, 1))
        one, same, other = (compare(pairing, seed=seed, resamples=200) for seed in (0, 0, 1))
        assert one == same
        first, second = (c.contrasts[0].differences[0] for c in (one, other))
        assert first.difference.value == second.difference.value
        assert first.difference.low != second.difference.low

    def test_a_run_against_itself(self, made):
        """No difference, no width, p 1, half of the pairs."""
        run = made()
        for each in compare(pair_runs([run, run]), resamples=100).contrasts[0].differences:
            assert each.difference.value == each.difference.low == each.difference.high == 0
            assert (each.win_rate, each.p, each.p_holm) == (0.5, 1, 1)

    def test_diversity_of_one_concept_is_jackknifed(self, made):
        """Never an image bootstrap: the interval follows from the values without each prompt."""
        one, two = made("lora"), made("dora")
        found = compare(pair_runs([one, two]), resamples=100).contrasts[0].differences[-1]
        without = jackknife_of(two.scores) - jackknife_of(one.scores)
        error = np.sqrt(4 / 5 * np.square(without - without.mean()).sum())
        assert found.metric == "diversity"
        assert found.difference.high - found.difference.value == pytest.approx(2.7764 * error, rel=1e-4)

    @pytest.mark.parametrize(("prompts", "known"), [(1, False), (2, True)])
    def test_two_prompts_are_the_least_that_a_jackknife_needs(self, made, prompts, known):
        """Of a single prompt nothing is left when it is taken out, whatever the record says."""
        assert (jackknife_of(made(prompts=prompts).scores) is not None) == known

    def test_training_seeds_may_be_unknown(self, made):
        """Runs of another program have none; the caption still lists what there is."""
        runs = [made(method, "cat", seed) for method in ("lora", "dora") for seed in (0, 1)]
        runs = [
            replace(run, scores=replace(run.scores, source=replace(run.scores.source, seed=None)))
            if run.seed == 1
            else run
            for run in runs
        ]
        assert compare(pair_by_method(runs), resamples=100).training_seeds == [0, None]

    def test_diversity_moves_by_its_jackknife_error(self):
        """Inside a concept, where an image bootstrap would bias Vendi down."""
        without = np.array([4.0, 4.4, 4.1, 4.7])
        error = np.sqrt(3 / 4 * np.square(without - without.mean()).sum())
        drawn = _resampled(_Concept(5.0, None, without), 20_000, np.random.default_rng(0))
        assert drawn.mean() == pytest.approx(5.0, abs=0.03)
        assert drawn.std() == pytest.approx(error, rel=0.03)

    def test_an_interval_stays_where_the_score_can_be(self):
        """No cosine above 1 and no fewer pictures than one in effect; what lies inside is untouched."""
        assert Estimate(0.9, 0.7, 1.1).within(CONCEPT_ALIGNMENT) == Estimate(0.9, 0.7, 1.0)
        assert Estimate(1.2, 0.8, 40.0).within(DIVERSITY) == Estimate(1.2, 1.0, 40.0)
        assert Estimate(0.1, -0.2, 0.4).within(DRIFT) == Estimate(0.1, 0.0, 0.4)
        assert Estimate(0.5, None, None).within(DRIFT) == Estimate(0.5, None, None)

    def test_the_estimates_of_one_run_are_its_row(self, made):
        """The report of a run shows what a comparison would say of it."""
        run = made()
        row = compare(pair_runs([run, made("dora")]), seed=3, resamples=200).rows[0]
        assert estimates_of(run.scores, seed=3, resamples=200) == row.scores
        assert estimates_of(run.scores, seed=4, resamples=200) != row.scores

    def test_no_references_no_photo_scores(self, made):
        """What was not measured is not compared, and Holm counts what is."""
        runs = [made(method, references=0) for method in ("lora", "dora")]
        differences = compare(pair_runs(runs), resamples=100).contrasts[0].differences
        assert [each.metric for each in differences] == ["text_alignment", "diversity"]

    def test_a_single_picture_has_no_interval(self, made):
        """Nothing was repeated."""
        runs = [made(method, prompts=1, images=1, references=1) for method in ("lora", "dora")]
        runs = [
            replace(
                run,
                scores=replace(
                    run.scores, per_prompt=[replace(run.scores.per_prompt[0], diversity_without=None)]
                ),
            )
            for run in runs
        ]
        for each in compare(pair_runs(runs), resamples=100).contrasts[0].differences:
            assert each.difference.low is None
            assert each.difference.high is None


def test_prompts_of_unequal_counts_are_refused(made):
    """A table has no holes."""
    scores = made().scores
    with pytest.raises(ScoreError, match="from 1 to 2 pictures"):
        table_of(replace(scores, per_image=scores.per_image[1:]), TEXT)


class TestNotes:
    """What the numbers cannot say is said."""

    def test_one_concept(self, made):
        """The interval is about this concept, and no test can be significant."""
        notes = compare(pair_runs([made(), made("dora")]), resamples=100).notes
        assert "one concept: the intervals speak of 'cat' only, not of others" in notes
        assert any("the smallest p of the sign-flip test is 1, so no difference" in note for note in notes)

    def test_five_six_and_eight_concepts(self, study):
        """5: p .0625 at least. 6: .031, but not after Holm. 8: nothing to say."""
        notes = [compare(pair_by_method(study(c, 1)), resamples=100).notes for c in (5, 6, 8)]
        assert "0.0625, so no difference can be significant" in notes[0][0]
        assert "no difference can stay significant once 4 metrics are corrected for" in notes[1][0]
        assert notes[2] == []


class TestShown:
    """For people and for programs."""

    def test_table3(self, grouped):
        """The columns of the paper's table with intervals, the shares of parameters, the differences."""
        text = shown(grouped)
        for part in (
            "method",
            "# Params",
            "(%)",
            "Text Align.",
            "Concept Align.",
            "Diversity",
            "0.0306",
            "0.0325",
        ):
            assert part in text
        score = grouped.rows[0].scores["text_alignment"]
        assert score.low + score.high == pytest.approx(
            2 * score.value
        )  # what the ± of the table takes for granted
        values, intervals = (line.split() for line in text.splitlines()[4:6])
        assert values[2] == f"{score.value:.3f}"
        assert intervals[:2] == ["±", f"{score.high - score.value:.3f}"]
        assert "coeff-lora less lora" in text
        assert "100 % of 12" in text
        assert EMBEDDED_LABEL not in text

    def test_embedded_scorers_are_labelled(self, study):
        """In the terminal, in LaTeX and in CSV."""
        runs = [
            replace(run, scores=replace(run.scores, embedded=True, label=EMBEDDED_LABEL))
            for run in study(2, 1)
        ]
        comparison = compare(pair_by_method(runs), resamples=100)
        for text in (shown(comparison), to_latex(comparison), to_csv(comparison)):
            assert EMBEDDED_LABEL in text

    def test_single_runs_are_called_runs(self, made):
        """A row is one run then."""
        text = shown(compare(pair_runs([made(), made("dora")]), resamples=100))
        assert "cat-lora-0" in text
        assert "method" not in text

    def test_csv(self, grouped):
        """Every number at full precision; the baseline has no difference."""
        rows = list(csv.DictReader(io.StringIO(to_csv(grouped))))
        assert len(rows) == 8
        assert {row["difference"] for row in rows[:4]} == {""}
        each = grouped.contrasts[0].differences[0]
        assert float(rows[4]["difference_low"]) == each.difference.low
        assert (rows[4]["label"], rows[4]["metric"], rows[4]["n"]) == ("coeff-lora", "text_alignment", "10")

    def test_latex(self, grouped):
        """As many cells in each row as columns, and nothing that LaTeX reads as a command."""
        lines = to_latex(grouped).splitlines()
        rows = [line for line in lines if line.endswith(r"\\")]
        assert len(rows) == 3
        assert all(line.count(" & ") == 4 for line in rows)
        assert rows[0] == r"Method & \# Params (\%) & Text Align. & Concept Align. & Diversity \\"
        assert escaped("a_b & 5%") == r"a\_b \& 5\%"

    def test_json(self, grouped):
        """Plain values, nothing that JSON lacks."""
        text = json.dumps(dataclasses.asdict(grouped), allow_nan=False)
        assert json.loads(text)["contrasts"][0]["baseline"] == "lora"
