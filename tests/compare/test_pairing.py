"""Which runs may be compared, and the words with which the others are refused."""

from __future__ import annotations

from dataclasses import is_dataclass, replace

import pytest

from coeffdream.compare.pairing import pair_by_method, pair_runs
from coeffdream.compare.scored import load_runs
from coeffdream.errors import ConfigError, ScoreError
from coeffdream.records.run import RunFolder
from coeffdream.records.scores import LearnedScores, PhotoHash, write_scores


@pytest.fixture
def two(made):
    """A baseline, and a run to be spoiled."""
    return made("lora"), made("coeff-lora")


def spoiled(run, **parts):
    """The run with parts of its scores replaced; a dict is laid over a part that has fields of its own."""
    return replace(run, scores=laid_over(run.scores, parts))


def laid_over(record, changes):
    return replace(
        record,
        **{
            name: laid_over(getattr(record, name), value) if is_dataclass(getattr(record, name)) else value
            for name, value in changes.items()
        },
    )


CLIP = {"weights_sha256": "e" * 64}
DINO = {"preprocessing": {"centre_crop": 256}}
OTHER_BASE = {"name": "other", "architecture": "b" * 64}
RETRAINED = {"sketch": [0.5, -0.35]}


class TestRefusals:
    """Each names the field and both values."""

    @pytest.mark.parametrize(
        ("parts", "says"),
        [
            (
                {"encoders": {"clip": CLIP}},
                "encoder clip weights_sha256 is cccccccccccc in cat-lora-0, eeeeeeeeeeee",
            ),
            (
                {"encoders": {"dino": DINO}},
                "encoder dino preprocessing centre_crop is 224 in cat-lora-0, 256 in",
            ),
            ({"score_text": "token"}, "score text is class in cat-lora-0, token in cat-coeff-lora-0"),
            (
                {"source": {"base": OTHER_BASE}},
                "base is sdxl (architecture aaaaaaaaaaaa) in cat-lora-0, other",
            ),
            ({"source": {"base": RETRAINED}}, "base is sdxl"),
            ({"set": {"prompts_sha256": "p" * 64, "prompts": "object"}}, "cat-lora-0, object (pppppppppppp)"),
            ({"set": {"texts_sha256": "t" * 64}}, "scored texts is of class 'cat'"),
            ({"set": {"seeds_sha256": "s" * 64}}, "image seeds is 100 to 109 ("),
            ({"set": {"settings": {"steps": 50}}}, "drawing setting steps is 30 in cat-lora-0, 50 in"),
            (
                {"set": {"settings": {"folded": True}}},
                "drawing setting folded is False in cat-lora-0, True in",
            ),
            ({"references": [PhotoHash("0.png", "0" * 64)]}, "references is 3 photos"),
        ],
    )
    def test_unequal(self, two, parts, says):
        """Encoders, preprocessing, scored text, bases, prompts, seeds, drawing and photos."""
        with pytest.raises(ScoreError) as refused:
            pair_runs([two[0], spoiled(two[1], **parts)])
        assert says in str(refused.value)
        assert "draw and score them alike" in str(refused.value)

    def test_counts(self, made):
        """Diversity grows with n, so n must be equal."""
        with pytest.raises(ScoreError, match="n is 10 in cat-lora-0, 15 in cat-dora-0"):
            pair_runs([made("lora"), made("dora", images=3)])

    def test_every_problem_at_once(self, two):
        """A person repairs them in one go."""
        with pytest.raises(ScoreError, match="2 problems") as refused:
            pair_runs([two[0], spoiled(two[1], score_text="token", encoders={"clip": CLIP})])
        assert str(refused.value).count("\n  - ") == 2

    def test_unknown_seeds(self, two):
        """Pictures of another tool have no seeds to pair them by."""
        runs = [spoiled(run, set={"seeds_sha256": None}) for run in two]
        with pytest.raises(ScoreError, match="image seeds of cat-lora-0 are not known"):
            pair_runs(runs)

    def test_two_concepts_without_grouping(self, made):
        """A cat is not paired with a dog."""
        with pytest.raises(ScoreError, match=r"'cat' in cat-lora-0, 'dog' in dog-dora-0.*--by method"):
            pair_runs([made("lora"), made("dora", "dog")])

    def test_one_of_a_kind(self, made):
        """A comparison needs two."""
        with pytest.raises(ConfigError, match="1 of the two runs"):
            pair_runs([made()])
        with pytest.raises(ConfigError, match="1 of the two methods"):
            pair_by_method([made(), made(seed=1)])


class TestAccepted:
    """What may differ."""

    def test_adapter_name_and_versions(self, two):
        """The adapter is the point; a library's version or a moved model is no other encoder."""
        clip = {"name": "CLIP moved", "model": "moved", "versions": {"torch": "9"}}
        other = spoiled(two[1], encoders={"clip": clip})
        assert [group.label for group in pair_runs([two[0], other]).groups] == [
            "cat-lora-0",
            "cat-coeff-lora-0",
        ]

    def test_one_base_in_two_precisions(self, two):
        """bfloat16 rounds the sketch of the weights."""
        rounded = {"name": "elsewhere", "sketch": [0.501, -0.2505]}
        assert pair_runs([two[0], spoiled(two[1], source={"base": rounded})])

    def test_training_that_differs_is_noted(self, two):
        """Steps may be what is compared, but a reader has to know."""
        record = replace(two[1].record, config=replace(two[1].record.config, steps=400))
        notes = pair_runs([two[0], replace(two[1], record=record)]).notes
        assert notes == ["trained with different steps: the difference may be due to that"]

    def test_an_imported_run_is_not_said_to_have_settings(self, two):
        """How another tool trained is not known, so nothing is said of its steps but that."""
        record = replace(
            two[1].record, method="imported-lora", config=replace(two[1].record.config, steps=400)
        )
        [note] = pair_runs([two[0], replace(two[1], record=record)]).notes
        assert "another tool trained" in note
        assert "steps" not in note

    def test_training_seeds_of_single_runs_are_noted(self, made):
        """Two runs by hand need no equal seed."""
        assert pair_runs([made(), made(seed=3)]).notes == ["training seeds differ (0, 3)"]


class TestBaseline:
    """What all others are compared with."""

    @pytest.mark.parametrize("called", ["cat-dora-0", "runs/cat-dora-0", "runs/../runs/cat-dora-0"])
    def test_the_one_that_is_named(self, made, monkeypatch, tmp_path, called):
        """By its name or its folder; the others keep their order."""
        monkeypatch.chdir(tmp_path)
        runs = [made(method) for method in ("coeff-lora", "lora", "dora")]
        if ".." in called:
            runs = [replace(run, path=run.path.resolve()) for run in runs]
        pairing = pair_runs(runs, called)
        assert [group.method for group in pairing.groups] == ["dora", "lora", "coeff-lora"]
        assert {pairing.baseline_of(group).method for group in pairing.groups} == {"dora"}

    def test_one_that_is_not_there(self, two):
        """A slip is told with the names there are, instead of another baseline taken."""
        with pytest.raises(
            ConfigError, match=r"--baseline 'dora' is none of .*\(cat-lora-0, cat-coeff-lora-0\)"
        ):
            pair_runs(two, "dora")


def test_load_says_what_to_run(made, tmp_path):
    """A run without scores is named with the command that makes them."""
    for name in ("one", "two"):
        run = made(name=name)
        folder = RunFolder(tmp_path / name)
        folder.path.mkdir()
        folder.write(run.record)
    with pytest.raises(ScoreError, match=r"one; run: coeffdream eval .*/one"):
        load_runs(["one", "two"], tmp_path)


def test_load_reads_each_run_once_in_the_order_given(made, tmp_path):
    """A run that is named twice, or by its name and its folder, is not compared with itself."""
    expected = {}
    for name in ("one", "two"):
        run = made(name=name)
        folder = RunFolder(tmp_path / name)
        folder.path.mkdir()
        folder.write(run.record)
        write_scores(folder.scores, run.scores)
        expected[name] = run
    loaded = load_runs(["two", "one", str(tmp_path / "two")], tmp_path)
    assert [run.name for run in loaded] == ["two", "one"]
    for run in loaded:
        assert (run.record, run.scores) == (expected[run.name].record, expected[run.name].scores)
        assert run.path == tmp_path / run.name


class TestHeldOutPhotos:
    """Which photos are held out follows from the training seed, so seeds differ in them and methods do not."""

    def test_another_seed_may_hold_out_others(self, made):
        """Of the same photos: they are one concept's all the same."""
        runs = [_held_out(made(method, seed=seed), seed) for method in ("lora", "dora") for seed in (0, 1)]
        assert pair_by_method(runs).concepts == ["cat"]

    def test_masks_are_of_all_photos(self, made):
        """Held out or not: seeds that hold out others have the same, and another mask is still seen."""

        def masked(run, mask="f" * 64):
            photos = run.scores.references
            marked = [replace(p, mask_sha256=mask if p is photos[0] else p.sha256) for p in photos]
            overall = replace(run.scores.overall, subject_alignment=0.5)
            return replace(run, scores=replace(run.scores, references=marked, overall=overall))

        runs = [
            _held_out(masked(made(method, seed=seed)), seed) for method in ("lora", "dora") for seed in (0, 1)
        ]
        assert pair_by_method(runs).concepts == ["cat"]
        runs[-1] = _held_out(masked(made("dora", seed=1), "e" * 64), 1)
        with pytest.raises(ScoreError, match="masks of the photos"):
            pair_by_method(runs)

    def test_one_seed_holds_out_one_photo(self, made):
        """Methods scored against different photos are not compared."""
        with pytest.raises(ScoreError, match=r"held-out photos is 0\.png .* in cat-lora-0, 1\.png"):
            pair_runs([_held_out(made("lora"), 0), _held_out(made("dora"), 1)])

    def test_held_out_is_not_learned(self, made):
        """A run that learned all photos is not compared with one that learned fewer."""
        with pytest.raises(ScoreError, match=r"3 photos .* of them held out"):
            pair_runs([made("lora"), _held_out(made("dora"), 0)])


def _held_out(run, index):
    photos = run.scores.references
    learned = LearnedScores([p for p in photos if p is not photos[index]], run.scores.overall, None, None)
    return replace(run, scores=replace(run.scores, references=[photos[index]], learned=learned))


def test_a_run_that_names_no_concept_is_of_its_class_noun(made):
    """Scores of an imported adapter may have none; two subjects of one noun are told apart by it where it is there."""
    named = spoiled(made("lora", "cat"), source={"concept": "cat2", "class_noun": "cat"})
    assert named.concept == "cat2"
    assert spoiled(named, source={"concept": None}).concept == "cat"


def test_what_changes_nothing_that_is_learned_is_not_noted(made):
    """A reader would look for an effect of it."""
    one, other = made("lora"), made("coeff-lora")
    changes = {"compile": "on", "checkpoint_gb": 1.0, "log_with": "trackio", "vae_tiling": True}
    other = replace(other, record=replace(other.record, config=replace(other.record.config, **changes)))
    assert pair_runs([one, other]).notes == []
