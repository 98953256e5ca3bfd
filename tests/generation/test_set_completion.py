"""A set that was cut short is completed, and what would be other pictures gets a set of its own."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from coeffdream.adapters.files import adapter_hashes
from coeffdream.generation import batches

SNOW, BEACH = "<V> cat in snow", "<V> cat on a beach"


class TestCompletion:
    """A set that was cut short is completed; what is there is never drawn again."""

    @pytest.fixture
    def counted(self, monkeypatch):
        """The seeds that were really drawn, in order."""
        seeds = []
        original = batches.draw

        def counting(components, conditionings, batch, sampling):
            seeds.extend(batch)
            return original(components, conditionings, batch, sampling)

        monkeypatch.setattr(batches, "draw", counting)
        return seeds

    def test_interrupted_set(self, run_of, draw_set, counted, pixels):
        """Ctrl-C keeps what is drawn; the same command draws only the rest, to the same pictures."""
        run = run_of()

        def pressed(stage, done, total, note):
            if stage == "drawing" and done == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            draw_set(run, SNOW, images_per_prompt=5, batch_size=1, progress=pressed)
        [folder] = run.images.iterdir()
        manifest = [json.loads(line) for line in (folder / "images.jsonl").read_text().splitlines()]
        assert [row["seed"] for row in manifest] == counted == [0, 1, 2]
        del counted[:]
        made = draw_set(run, SNOW, images_per_prompt=5, batch_size=1)
        assert (made.already_there, counted, made.folder.path) == (3, [3, 4], folder)
        assert [image.index for image in made.images] == [0, 1, 2, 3, 4]
        straight = draw_set(run, SNOW, images_per_prompt=5, batch_size=1, set_name="straight")
        assert np.array_equal(pixels(made), pixels(straight))
        assert not [path for path in folder.iterdir() if path.name.startswith(".")]

    def test_complete_set_is_left_alone(self, run_of, draw_set, counted):
        """The same command twice draws once."""
        run = run_of()
        first = draw_set(run, SNOW, images_per_prompt=2)
        del counted[:]
        second = draw_set(run, SNOW, images_per_prompt=2, batch_size=7)
        assert counted == []
        assert second.already_there == 2
        assert second.images == first.images

    @pytest.mark.parametrize("damage", ["deleted", "altered", "truncated"])
    def test_lost_image_is_drawn_again(self, damage, run_of, draw_set, counted):
        """A PNG that is gone, or is no longer what was drawn, comes back with its own pixels."""
        run = run_of()
        first = draw_set(run, SNOW, images_per_prompt=3, batch_size=1, grid=True)
        sheet = first.folder.contact_sheet.read_bytes()
        file = first.folder.path / first.images[1].file
        if damage == "deleted":
            file.unlink()
        elif damage == "altered":
            Image.new("RGB", (32, 32), "red").save(file)
        else:
            file.write_bytes(file.read_bytes()[:50])
        del counted[:]
        again = draw_set(run, SNOW, images_per_prompt=3, batch_size=1, grid=True)
        assert counted == [1]
        assert again.images == first.images
        assert again.folder.contact_sheet.read_bytes() == sheet

    def test_order_of_a_repaired_manifest(self, run_of, draw_set):
        """Images come in the order of the plan whatever the order in which they were drawn."""
        run = run_of()
        made = draw_set(run, SNOW, BEACH, images_per_prompt=2)
        (made.folder.path / made.images[0].file).unlink()
        assert draw_set(run, SNOW, BEACH, images_per_prompt=2).images == made.images
        rows = [json.loads(line) for line in made.folder.manifest.read_text().splitlines()]
        assert [row["index"] for row in rows] == [0, 1, 2, 3]

    @pytest.mark.parametrize(
        "change",
        [
            {"seed": 1},
            {"steps": 1},
            {"guidance": 1.5},
            {"negative": "blurry"},
            {"size": 40},
            {"lora_scale": 0.5},
            {"alpha_scale": 0.5},
            {"images_per_prompt": 2},
        ],
    )
    def test_other_settings_make_another_set(self, change, run_of, draw_set):
        """What would be other pictures never lands among, or on top of, those that are there."""
        run = run_of()
        first = draw_set(run, SNOW, images_per_prompt=1, set_name="mine")
        before = {path: path.read_bytes() for path in first.folder.path.iterdir()}
        second = draw_set(run, SNOW, **{"images_per_prompt": 1, "set_name": "mine", **change})
        assert second.already_there == 0
        assert second.folder.path.name == "mine-2"
        assert second.folder.read_set().name == "mine-2"
        assert {path: path.read_bytes() for path in first.folder.path.iterdir()} == before
        again = draw_set(run, SNOW, **{"images_per_prompt": 1, "set_name": "mine", **change})
        assert again.folder.path == second.folder.path

    def test_retrained_adapter_makes_another_set(self, run_of, draw_set, learned):
        """A run whose adapter was replaced does not mix its pictures with the old ones."""
        run = run_of()
        draw_set(run, SNOW, images_per_prompt=1)
        shutil.rmtree(run.adapter)
        shutil.copytree(learned("coeff-dora") / "adapter", run.adapter)
        hashes = adapter_hashes(run.adapter)
        run.write(dataclasses.replace(run.read(), method="coeff-dora", adapter=hashes))
        second = draw_set(run, SNOW, images_per_prompt=1)
        assert second.folder.path.name == "cat-in-snow-2"

    def test_foreign_folder_is_left_alone(self, run_of, draw_set):
        """A folder of that name without set.json is somebody's own."""
        run = run_of()
        own = run.images / "cat-in-snow"
        own.mkdir(parents=True)
        (own / "keep.txt").write_text("mine")
        made = draw_set(run, SNOW, images_per_prompt=1)
        assert made.folder.path.name == "cat-in-snow-2"
        assert [path.name for path in own.iterdir()] == ["keep.txt"]
