"""A set belongs to one process at a time, and is drawn without being held in memory."""

from __future__ import annotations

import dataclasses
import json
import shutil
import threading

import pytest

from coeffdream.backbones.base import find_base
from coeffdream.backbones.load import Components
from coeffdream.errors import InUseError, RunError
from coeffdream.generation import adapted, batches, sheet
from coeffdream.generation.base_run import base_run, begin_run
from coeffdream.generation.plan import SetPlan
from coeffdream.generation.sets import claimed_set
from coeffdream.progress import silent
from coeffdream.records.base import BaseRecord
from coeffdream.records.claim import attempt
from coeffdream.records.fields import record_to_json
from coeffdream.records.images import SetRecord, SetSettings
from coeffdream.records.run import held_run

SNOW = "<V> cat in snow"


def plan_of(*templates: str, seed: int = 0) -> SetRecord:
    base = BaseRecord("toybox", "toybox", "embedded", "a" * 64, [0.5])
    settings = SetSettings(base, None, None, None, "sks", seed, 2, 3.0, "", 32, "Euler", "float32")
    return SetRecord("cat", "prompts", "now", "given", list(templates), "cat", 4, settings)


def test_the_same_set_is_refused(run_of):
    """The second of two is told who draws it, and may name another set."""
    run = run_of()
    with (
        claimed_set(run.images, plan_of(SNOW)) as folder,
        pytest.raises(
            InUseError, match=r"the set cat of cat-coeff-lora is in use by process \d+ since .*give --set"
        ),
        claimed_set(run.images, plan_of(SNOW)),
    ):
        pass
    with claimed_set(run.images, plan_of(SNOW)) as again:
        assert again == folder


@pytest.mark.parametrize("other", [plan_of(SNOW, seed=5000), plan_of("<V> cat!"), plan_of(SNOW, "<V> cat?")])
def test_another_set_of_that_name_is_beside_it(run_of, other):
    """Other seeds, or prompts that make one file name: a folder of its own, while the first is being drawn."""
    run = run_of()
    with claimed_set(run.images, plan_of(SNOW)) as one, claimed_set(run.images, other) as two:
        assert (one.path.name, two.path.name) == ("cat", "cat-2")
        assert two.read_set() == dataclasses.replace(other, name="cat-2")
    with claimed_set(run.images, other) as again:
        assert again == two


@pytest.mark.parametrize("same", [True, False])
def test_a_neighbour_that_has_not_said_yet(run_of, same):
    """Its folder is claimed and its set.json is not there: the second waits for that, and believes nothing before."""
    run = run_of()
    claim = attempt(run.images / "cat", "generate")
    said = plan_of(SNOW) if same else plan_of("<V> dog")
    threading.Timer(
        0.3, lambda: (run.images / "cat" / "set.json").write_text(json.dumps(record_to_json(said)))
    ).start()
    if same:
        with pytest.raises(InUseError), claimed_set(run.images, plan_of(SNOW)):
            pass
    else:
        with claimed_set(run.images, plan_of(SNOW)) as second:
            assert second.path.name == "cat-2"
    claim.release()


def test_a_husk_of_a_set_is_taken_over(run_of):
    """A kill between the folder and its set.json costs no name."""
    run = run_of()
    (run.images / "cat").mkdir(parents=True)
    (run.images / "cat" / ".lock").touch()
    with claimed_set(run.images, plan_of(SNOW)) as folder:
        assert folder.path.name == "cat"


def test_a_removed_set_is_not_written_to(run_of, draw_set):
    """Removed while it was being drawn: it stops, and makes no half of a set."""
    run = run_of()

    def removed(stage, done, total, note):
        if stage == "drawing" and done == 1:
            shutil.rmtree(run.images / "cat-in-snow")

    with pytest.raises(RunError, match="was removed or replaced while it was being worked in"):
        draw_set(run, SNOW, images_per_prompt=3, batch_size=1, progress=removed)
    assert not run.images.exists() or not any(run.images.iterdir())


def test_a_run_that_is_training_is_not_drawn_with(run_of, draw_set):
    """Who is at work is named; a run whose training was killed is to be finished instead."""
    run = run_of()
    run.write(dataclasses.replace(run.read(), status="training"))
    with (
        held_run(run, "train --resume"),
        pytest.raises(InUseError, match=r"\(train --resume\); draw when that has"),
    ):
        draw_set(run, SNOW)
    with pytest.raises(RunError, match=r"is training after .* steps; finish it"):
        draw_set(run, SNOW)


def test_a_training_that_ends_while_generate_begins(run_of, draw_set, monkeypatch):
    """What run.json said a moment ago is no reason to ask for a resume: the finished run is drawn with."""
    run = run_of()
    finished = run.read()
    run.write(dataclasses.replace(finished, status="training", steps_done=1, adapter={}))

    def ended_just_now(path):
        run.write(finished)
        return False

    monkeypatch.setattr(adapted, "is_held", ended_just_now)
    assert draw_set(run, SNOW, images_per_prompt=1).count == 1


def test_an_adapter_that_changes_while_it_is_read(run_of, draw_set, learned, monkeypatch):
    """Pictures of an adapter are never filed under another's name."""
    run = run_of()
    run.write(
        dataclasses.replace(run.read(), adapter={})
    )  # of a version that did not write down what they must be
    load = adapted.load_adapter

    def changed(*given):
        adapter = load(*given)
        shutil.rmtree(run.adapter)
        shutil.copytree(learned("coeff-dora") / "adapter", run.adapter)
        return adapter

    monkeypatch.setattr(adapted, "load_adapter", changed)
    with pytest.raises(InUseError, match="draw again when that has ended"):
        draw_set(run, SNOW)
    assert not run.images.exists()


def test_two_base_runs_at_once(tiny_base, tmp_path):
    """Two classes drawn by the untouched base, both planned before either was written: two runs."""
    planned = [
        base_run(find_base(str(tiny_base)), noun, "sks", tmp_path)[1] for noun in ("cat", "dog", "cat")
    ]
    begun = [begin_run(record, tmp_path) for record in planned]
    names = [run.path.name for run, _ in begun]
    assert names == [names[0], f"{names[0]}-2", names[0]]
    assert [run.read().class_noun for run, _ in begun] == ["cat", "dog", "cat"]


class TestLargeSets:
    """Ten thousand prompts begin like twenty."""

    def test_only_what_is_missing_is_encoded(self, run_of, draw_set, monkeypatch):
        """And only a few prompts before the first picture."""
        monkeypatch.setattr(batches, "ENCODED_AT_ONCE", 2)
        events = []
        encode, draw = batches.encode_prompt, batches.draw
        monkeypatch.setattr(
            batches,
            "encode_prompt",
            lambda parts, text, negative: (events.append(text), encode(parts, text, negative))[1],
        )
        monkeypatch.setattr(batches, "draw", lambda *given: (events.append("draw"), draw(*given))[1])
        run = run_of()
        prompts = [f"<V> cat {word}" for word in ("one", "two", "three", "four", "five")]
        made = draw_set(run, *prompts, images_per_prompt=2, batch_size=8)
        one, two, three, four, five = (text.replace("<V>", "sks") for text in prompts)
        assert events == [one, two, "draw", three, four, "draw", five, "draw"]
        straight = [(row.file, row.sha256) for row in made.images]
        (made.folder.path / made.images[7].file).unlink()
        (made.folder.path / made.images[2].file).unlink()
        del events[:]
        again = draw_set(run, *prompts, images_per_prompt=2, batch_size=8)
        assert (events, again.already_there) == ([two, four, "draw"], 8)
        assert [(row.file, row.sha256) for row in again.images] == straight

    def test_the_text_encoders_go_with_the_last_prompts(self, run_of, draw_set, monkeypatch):
        """Until then they wait on the CPU; afterwards their memory is free."""
        run = run_of()  # which may have to be trained first
        monkeypatch.setattr(batches, "ENCODED_AT_ONCE", 1)
        calls = []
        move, let_go = Components.text_encoders_to, Components.release_text_encoders
        monkeypatch.setattr(
            Components, "text_encoders_to", lambda self, device: (calls.append("move"), move(self, device))[1]
        )
        monkeypatch.setattr(
            Components, "release_text_encoders", lambda self: (calls.append("go"), let_go(self))[1]
        )
        draw_set(run, "<V> cat", "<V> dog", images_per_prompt=1)
        assert calls == ["move", "move", "move", "go"]

    def test_a_plan_makes_its_jobs_when_they_are_asked_for(self):
        """A million images take no more memory than their prompts."""
        plan = SetPlan(
            ["<V> CLASS", "a <V> CLASS"], class_noun="cat", token="sks", images_per_prompt=500_000, seed=7
        )
        assert len(plan) == 1_000_000
        last = plan[-1]
        assert (last.index, last.prompt_index, last.image_index, last.seed) == (
            999_999,
            1,
            499_999,
            1_000_006,
        )
        assert (last.text, last.file) == ("a sks cat", "01-499999-a-cat.png")
        assert plan[2:4] == [plan[2], plan[3]]
        with pytest.raises(IndexError):
            plan[1_000_000]

    def test_half_a_line_of_the_manifest(self, run_of, draw_set):
        """What a kill leaves of an appended row is no row; the picture comes again, to the byte."""
        run = run_of()
        made = draw_set(run, SNOW, images_per_prompt=3, batch_size=1)
        whole = made.folder.manifest.read_bytes()
        expected = made.images
        made.folder.manifest.write_bytes(whole[:-20])
        assert made.images == expected[:2]
        again = draw_set(run, SNOW, images_per_prompt=3, batch_size=1)
        assert again.already_there == 2
        assert made.folder.manifest.read_bytes() == whole

    def test_the_manifest_is_appended_to(self, run_of, draw_set):
        """A row is there as soon as its batch is, and those before it are not written again."""
        run = run_of()
        seen = []

        def look(stage, done, total, note):
            manifest = run.images / "cat-in-snow" / "images.jsonl"
            if stage == "drawing" and done:
                seen.append((manifest.stat().st_ino, len(manifest.read_text().splitlines())))

        draw_set(run, SNOW, images_per_prompt=4, batch_size=1, progress=look)
        assert [rows for _, rows in seen] == [1, 2, 3, 4]
        assert len({inode for inode, _ in seen}) == 1

    def test_a_sheet_of_many_shows_the_first(self, run_of, draw_set, monkeypatch):
        """Tens of thousands of pictures on one sheet would be neither seen nor held."""
        monkeypatch.setattr(sheet, "PICTURES", 3)
        shown = []
        monkeypatch.setattr(
            sheet, "contact_sheet", lambda folder, images, file, title: shown.append((images, title))
        )
        draw_set(run_of(), SNOW, images_per_prompt=5, grid=True, progress=silent)
        [(images, title)] = shown
        assert [image.index for image in images] == [0, 1, 2]
        assert title.endswith("the first 3 of 5 pictures")
