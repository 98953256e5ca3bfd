"""Unrelated prompts: drawn with the adapter and without, and never taken for the benchmark."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest

from coeffdream import warm
from coeffdream.backbones.base import find_base
from coeffdream.data.prompts import load_prompts, names_class
from coeffdream.errors import ConfigError
from coeffdream.generation import run as generation
from coeffdream.generation.request import GenerateRequest
from coeffdream.progress import silent
from coeffdream.records.fields import record_to_json
from coeffdream.records.files import write_json
from coeffdream.records.images import SetFolder, find_set
from coeffdream.records.run import RunFolder
from coeffdream.toybox.vocabulary import unknown_words
from coeffdream.toybox.world.grammar import PLACES, read_caption
from coeffdream.toybox.world.names import SUBJECTS


@pytest.fixture
def short_list(monkeypatch):
    """Three prompts in the place of 25; one names the class."""
    listed = dataclasses.replace(
        load_prompts("toybox-unrelated", class_noun="cat"),
        templates=("a dog in the snow", "two cats on the grass", "a car at night"),
    )
    monkeypatch.setattr("coeffdream.generation.request.load_prompts", lambda *_, **__: listed)


@pytest.fixture
def draw_unrelated(tiny_base):
    def drawn(run, progress=silent, **changes):
        request = GenerateRequest(unrelated=True, device="cpu", **changes)
        base = find_base(str(tiny_base))
        return generation.generate_beside_base(
            request, run, run.read(), base, grid=False, progress=progress, warn=lambda _: None
        )

    return drawn


@pytest.mark.parametrize("name", ["unrelated", "toybox-unrelated"])
def test_the_lists_name_no_concept(name):
    """25 prompts that hold neither <V> nor CLASS."""
    templates = load_prompts(name, class_noun="cat").templates
    assert len(templates) == 25
    assert not [each for each in templates if "<V>" in each or "CLASS" in each]


def test_the_toyboxs_list_is_in_its_grammar():
    """Every prompt can be drawn, and every subject and every place is among them."""
    templates = load_prompts("toybox-unrelated", class_noun="cat").templates
    wishes = [read_caption(template) for template in templates]
    assert {wish.subject for wish in wishes} == set(SUBJECTS)
    assert {wish.background for wish in wishes} == set(PLACES)
    assert not [word for template in templates for word in unknown_words(template)]


@pytest.mark.parametrize(
    ("prompt", "noun", "named"),
    [
        ("a red car in the city", "car", True),
        ("two Cars at night", "car", True),
        ("a scarf on a card", "car", False),
        ("a shoe on a step", "running shoe", True),
        ("a running dog", "running shoe", False),
    ],
)
def test_what_names_the_class(prompt, noun, named):
    """Whole words only, the plural too, and the head of a longer noun."""
    assert names_class(prompt, noun) is named


def test_prompts_of_the_own_class_are_left_out():
    """Pictures of cats may change when a cat was learned: that is not drift."""
    request = GenerateRequest(unrelated=True)
    source, templates = request.templates("cat", True, toybox=True)
    left_out = request.left_out(["cat"], toybox=True)
    assert source == "toybox-unrelated"
    assert left_out == ["a gray cat in the snow", "a cat wearing a red hat in a room"]
    assert len(templates) == 23
    assert not set(left_out) & set(templates)
    assert len(request.templates("vase", False, toybox=False)[1]) == 24


def test_options_that_do_not_go_with_it():
    """It has prompts of its own and draws both sets."""
    with pytest.raises(ConfigError) as caught:
        GenerateRequest(prompts=("<V> cat",), prompt_list="live", no_adapter=True, unrelated=True).check()
    for name in ("PROMPT", "--prompts", "--no-adapter"):
        assert f"leave out {name}" in str(caught.value)


def test_both_sets_are_pairs(short_list, run_of, draw_unrelated, draw_set, pixels):
    """Equal prompts, seeds and settings; only the adapter differs, and so do the pictures."""
    run = run_of()
    adapted, untouched = draw_unrelated(run)
    one, two = adapted.folder.read_set(), untouched.folder.read_set()
    assert (one.name, two.name, one.kind, two.kind) == ("unrelated", "unrelated-base", *["unrelated"] * 2)
    assert one.templates == two.templates == ["a dog in the snow", "a car at night"]
    assert [image.seed for image in adapted.images] == [image.seed for image in untouched.images] == [0, 1]
    assert one.settings.differing(two.settings) == ["adapter", "lora_scale", "alpha_scale"]
    assert np.abs(pixels(adapted) - pixels(untouched)).max() > 0
    shutil.rmtree(untouched.folder.path)
    plain = draw_set(run, *one.templates, images_per_prompt=1, no_adapter=True, plain=True)
    assert np.array_equal(pixels(draw_unrelated(run)[1]), pixels(plain))


def test_a_cut_short_pair_is_completed(short_list, run_of, draw_unrelated):
    """Ctrl-C among the second set keeps the first; nothing is drawn twice."""
    run = run_of()
    drawn = []

    def pressed(stage, done, total, note):
        if stage == "drawing" and note:
            drawn.append(note)
            if len(drawn) == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_unrelated(run, progress=pressed, batch_size=1)
    adapted, untouched = draw_unrelated(run, batch_size=1)
    assert (adapted.already_there, untouched.already_there) == (1, 2)
    assert [len(adapted.images), len(untouched.images)] == [2, 2]


def test_the_benchmark_is_still_what_is_scored(short_list, run_of, draw_unrelated, draw_set):
    """However new they are, unrelated pictures are the last that find_set takes."""
    run = run_of()
    draw_unrelated(run)
    assert find_set(run.images, None).path.name == "unrelated"
    benchmark = draw_set(run, "<V> cat in snow", images_per_prompt=1, no_adapter=True)
    draw_unrelated(run, seed=5)
    assert find_set(run.images, None).path == benchmark.folder.path


class TestSharing:
    """The untouched base's pictures are drawn once for all runs that lie side by side."""

    @pytest.fixture
    def beside(self, run_of):
        """The same run under another name."""
        run = run_of()
        other = RunFolder(run.path.parent / "other")
        shutil.copytree(run.path, other.path)
        return run, other

    def test_equal_pictures_are_taken_over(self, beside, draw_set):
        """Same settings, text and seed: the very bytes, without a model's work."""
        one, other = (draw_set(run, "<V> cat", images_per_prompt=2, no_adapter=True) for run in beside)
        assert (one.shared, other.shared, other.already_there) == (0, 2, 0)
        assert [image.sha256 for image in one.images] == [image.sha256 for image in other.images]
        assert draw_set(beside[1], "<V> cat", images_per_prompt=2, no_adapter=True).already_there == 2

    @pytest.mark.parametrize("changes", [{"steps": 1}, {"seed": 7}, {"negative": "blue"}, {"guidance": 1.0}])
    def test_other_settings_are_not(self, beside, draw_set, changes):
        """A picture drawn otherwise is another picture."""
        draw_set(beside[0], "<V> cat", images_per_prompt=1, no_adapter=True)
        assert draw_set(beside[1], "<V> cat", images_per_prompt=1, no_adapter=True, **changes).shared == 0

    def test_the_adapters_are_not(self, beside, draw_set):
        """Only what no training can change is shared."""
        draw_set(beside[0], "<V> cat", images_per_prompt=1)
        assert draw_set(beside[1], "<V> cat", images_per_prompt=1).shared == 0

    @pytest.mark.parametrize(
        ("wrote", "called"), [("NVIDIA H100", "NVIDIA H100"), ("", "a device that it does not tell")]
    )
    def test_those_of_another_kind_of_device_are_not(self, wrote, called, beside, draw_set):
        """Two kinds round differently; that the floor costs a second drawing is said."""
        one = draw_set(beside[0], "<V> cat", images_per_prompt=1, no_adapter=True)
        record = one.folder.read_set()
        assert record.device == "cpu"
        write_json(one.folder.set_file, record_to_json(dataclasses.replace(record, device=wrote)))
        heard = []
        assert (
            draw_set(beside[1], "<V> cat", images_per_prompt=1, no_adapter=True, warn=heard.append).shared
            == 0
        )
        assert heard == [
            f"what {called} drew in {one.folder.path} is not taken over on cpu: it is drawn again"
        ]

    def test_a_set_that_goes_on_on_another_kind_of_device(self, beside, draw_set):
        """It is completed, for nobody else has it; that its pictures are of two kinds is said."""
        one = draw_set(beside[0], "<V> cat", images_per_prompt=2, no_adapter=True)
        record = one.folder.read_set()
        write_json(one.folder.set_file, record_to_json(dataclasses.replace(record, device="NVIDIA H100")))
        (one.folder.path / one.images[1].file).unlink()
        heard = []
        draw_set(beside[0], "<V> cat", images_per_prompt=2, no_adapter=True, warn=heard.append)
        assert (
            [line for line in heard if "was begun on NVIDIA H100 and goes on on cpu" in line] == heard != []
        )

    def test_in_a_study_only_what_is_noted_is_looked_at(self, beside, draw_set, tmp_path, monkeypatch):
        """Not every set of thousands of cells; a note that leads nowhere, or out of the study, costs a drawing at most."""
        warm.keep(tmp_path / "shared")
        try:
            read = []
            reads = SetFolder.read_set
            monkeypatch.setattr(
                SetFolder, "read_set", lambda self: read.append(self.path.name) or reads(self)
            )
            draw_set(beside[0], "<V> cat in snow", images_per_prompt=1, no_adapter=True)
            draw_set(beside[0], "<V> cat", images_per_prompt=1, no_adapter=True)
            read.clear()
            other = draw_set(beside[1], "<V> cat", images_per_prompt=1, no_adapter=True)
            assert (other.shared, "cat-in-snow" in read) == (1, False)
            notes = list((tmp_path / "shared" / "floors").iterdir())
            assert len(notes) == 2
            for said in (["nowhere", "images", "cat"], ["..", "x"], 7, {}):
                shutil.rmtree(other.folder.path)
                for note in notes:
                    write_json(note, said)
                assert draw_set(beside[1], "<V> cat", images_per_prompt=1, no_adapter=True).shared == 0
        finally:
            warm.keep_nothing()

    def test_altered_and_damaged_ones_are_drawn_anew(self, beside, draw_set):
        """What is taken over is what its manifest says; a broken neighbour stops nobody."""
        one = draw_set(beside[0], "<V> cat", images_per_prompt=2, no_adapter=True)
        (one.folder.path / one.images[0].file).write_bytes(b"no picture")
        other = draw_set(beside[1], "<V> cat", images_per_prompt=2, no_adapter=True)
        assert other.shared == 1
        assert other.images[0].sha256 == one.images[0].sha256
        one.folder.set_file.write_text("{")
        shutil.rmtree(other.folder.path)
        assert draw_set(beside[1], "<V> cat", images_per_prompt=2, no_adapter=True).shared == 0
