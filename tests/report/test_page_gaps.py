"""A run that lacks something, or whose files have changed, still has its page, which says so."""

from __future__ import annotations

import dataclasses
import re

import pytest
from PIL import Image

from coeffdream.errors import RunError
from coeffdream.records.fields import record_to_json
from coeffdream.records.files import read_json, write_json, write_jsonl
from coeffdream.records.images import SetFolder
from coeffdream.records.run import Parameters


def test_an_incomplete_set_has_no_intervals(page, builder):
    """Prompts with unequal counts cannot be resampled; the page is made all the same."""
    builder.trained().drawn(missing=1).scored(floor=None)
    seen = page(builder.folder)
    assert "0.311" in seen.text
    assert "drawn anew" not in seen.text


def test_run_without_pictures(page, builder):
    """A shorter page that says which command draws them."""
    seen = page(builder.trained().logged().folder)
    assert seen.sections == {"glance", "training", "settings", "again"}
    assert "There are no pictures yet" in seen.text
    assert re.search(r"coeffdream generate --run \S*/cat-coeff-lora", seen.text)


def test_run_without_scores(page, builder):
    """The pictures are shown; the page says which commands score them and draw the floor."""
    seen = page(builder.trained().drawn().folder)
    assert "pictures" in seen.sections
    assert "scores" not in seen.sections
    assert re.search(r"coeffdream eval \S*/cat-coeff-lora --set benchmark", seen.text)
    assert "--no-adapter" in seen.text


def test_unfinished_set(page, builder):
    """What is there is shown, and how much is missing is said."""
    seen = page(builder.trained().drawn(missing=5).folder)
    assert "11 of 16 pictures are there" in seen.text
    assert "Pictures are missing. Draw them with" in seen.text


def test_interrupted_run(page, builder):
    """The status says how far, the command how to go on; coefficients are the newest checkpoint's."""
    builder.trained(status="interrupted", steps_done=40).logged(40)
    builder.mixed(where="checkpoints/000020").mixed(layers=2, where="checkpoints/000040")
    seen = page(builder.folder)
    assert "interrupted after 40 of 60 steps" in seen.text
    assert re.search(r"coeffdream train --resume \S*/cat-coeff-lora", seen.text)
    assert "checkpoint 000040" in seen.text
    assert seen.text.count("% neg.") == 2


def test_base_only_run(page, builder):
    """A run of the untouched base has pictures and neither training nor photos."""
    builder.trained(status="base", method="none", concept=None, parameters=Parameters())
    seen = page(builder.drawn(adapter=False).folder)
    assert "untouched base, nothing trained" in seen.text
    assert seen.sections == {"glance", "pictures", "settings", "again"}
    assert "--base toybox --class cat" in seen.text
    assert "coeffdream train" not in seen.text


def test_photos_that_have_moved_or_changed(page, builder):
    """A photo that is gone is counted; one that is another now is not passed off as the one that was learned."""
    builder.trained()
    folder = builder.root / "photos" / "cat"
    (folder / "00.png").unlink()
    Image.new("RGB", (64, 64)).save(folder / "01.png")
    seen = page(builder.folder)
    assert "1 of 3 photos are no longer in" in seen.text
    assert "not shown: 01.png" in seen.text
    assert [image["alt"] for image in seen.all("img")][:1] == ["photo 02.png of the cat to learn"]


def test_pictures_gone_or_drawn_again(page, builder):
    """A picture that was deleted leaves a marked hole; scores of other pictures are said to be old."""
    builder.trained().drawn().scored(floor=None)
    folder = SetFolder(builder.folder.images / "benchmark")
    images = folder.read_images()
    altered = [dataclasses.replace(images[0], sha256="0" * 64), *images[1:]]
    write_jsonl(folder.manifest, map(record_to_json, altered))
    (folder.path / images[3].file).unlink()
    seen = page(builder.folder)
    assert "drawn again after they were scored" in seen.text
    assert "1 of 16 pictures of benchmark cannot be read any more" in seen.text
    assert "the file is gone" in seen.all("span", "gone")[0]["aria-label"]


def test_a_time_that_is_none(page, builder):
    """A run.json changed by hand is named."""
    builder.trained()
    record = read_json(builder.folder.record_file)
    write_json(builder.folder.record_file, {**record, "created": "yesterday"})
    with pytest.raises(RunError, match="created is 'yesterday'"):
        page(builder.folder)
