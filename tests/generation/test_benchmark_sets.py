"""Which prompts a set is drawn of: the benchmark, a list, or a file."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from coeffdream.errors import PromptError
from coeffdream.records.files import sha256_of_file
from coeffdream.records.images import ImageRecord


class TestBenchmark:
    """No prompt given: 25 prompts x 4 by what the thing is."""

    def test_manifest(self, run_of, draw_set):
        """100 rows in the order of the prompts, each with all that draws and scores it."""
        from coeffdream.data.prompts import load_prompts

        made = draw_set(run_of(), steps=1, grid=True)
        record = made.folder.read_set()
        templates = load_prompts("live", class_noun="cat").templates
        assert (record.kind, record.name, record.prompts) == ("benchmark", "benchmark", "live")
        assert (record.expected, tuple(record.templates)) == (100, templates)
        rows = [json.loads(line) for line in made.folder.manifest.read_text().splitlines()]
        assert [ImageRecord(**row) for row in rows] == made.images
        assert [row["seed"] for row in rows] == list(range(100))
        assert len({row["file"] for row in rows}) == 100
        for row in rows:
            assert row["index"] == 4 * row["prompt_index"] + row["image_index"]
            assert row["template"] == templates[row["prompt_index"]]
            assert row["prompt"] == row["template"].replace("CLASS", "cat")
            assert row["text"] == row["prompt"].replace("<V>", "sks")
            assert sha256_of_file(made.folder.path / row["file"]) == row["sha256"]
        with Image.open(made.folder.contact_sheet) as sheet:
            assert sheet.size == (1770, 1727)

    def test_list_can_be_forced(self, run_of, draw_set):
        """--prompts object draws the object list for a living thing; the two sets stay apart."""
        run = run_of()
        live = draw_set(run, prompt_list="live", images_per_prompt=1, steps=1)
        made = draw_set(run, prompt_list="object", images_per_prompt=1, steps=1)
        assert (live.folder.read_set().prompts, made.folder.read_set().prompts) == ("live", "object")
        assert live.folder.path != made.folder.path

    def test_official_file(self, run_of, draw_set, real_photos):
        """DreamBooth's own prompts file is read as it is, and the list that fits is drawn."""
        file = real_photos / "prompts_and_classes.txt"
        made = draw_set(run_of(), prompt_list=str(file), images_per_prompt=1, steps=1)
        assert len(made.images) == 25
        assert made.images[10].prompt == "a <V> cat wearing a red hat"
        assert made.folder.read_set().kind == "benchmark"

    def test_file_of_prompts(self, run_of, draw_set, tmp_path):
        """One prompt a line, comments aside; CLASS becomes the class noun."""
        file = tmp_path / "mine.txt"
        file.write_text("# mine\na <V> CLASS in a box\n\n<V> CLASS asleep\n")
        made = draw_set(run_of(), prompt_list=str(file), images_per_prompt=1)
        assert [image.prompt for image in made.images] == ["a <V> cat in a box", "<V> cat asleep"]
        assert made.folder.path.name == "mine"

    def test_every_bad_line_is_named(self, run_of, draw_set, tmp_path):
        """All prompts of a file that cannot be drawn are reported together, and nothing is drawn."""
        run = run_of()
        file = tmp_path / "mine.txt"
        file.write_text("a cat\na <V> CLASS\nanother cat\n")
        with pytest.raises(PromptError, match="2 problems"):
            draw_set(run, prompt_list=str(file))
        assert not run.images.exists()
