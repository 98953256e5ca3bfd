"""Sets of images: any one can be drawn again, no work is done twice, nothing is overwritten."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from coeffdream.adapters.files import adapter_hashes
from coeffdream.backbones.base import find_base
from coeffdream.backbones.encode import encode_prompt
from coeffdream.backbones.load import load_components
from coeffdream.backbones.sampling import Sampling, draw
from coeffdream.data.concept import load_concept
from coeffdream.errors import AdapterError, ConfigError, PromptError, RunError
from coeffdream.generation import sampler
from coeffdream.generation.base_run import base_run
from coeffdream.progress import silent
from coeffdream.records.images import ImageRecord
from coeffdream.records.run import COEFF_FILE, LORA_FILE
from coeffdream.training import run as training

SNOW, BEACH = "<V> cat in snow", "<V> cat on a beach"
# A batch may add up in another order than a single image: at most this many of 255 levels.
TOLERANCE = 1


def test_batch_size_changes_no_image(run_of, draw_set, pixels):
    """Sizes 1, 3 and 8 give the same eight pictures, within one level of 255."""
    run = run_of()
    expected = pixels(draw_set(run, SNOW, BEACH, batch_size=1, set_name="one"))
    assert len(expected) == 8
    assert all(np.abs(expected[0] - other).max() > 20 for other in expected[1:])
    for size in (3, 8):
        shutil.rmtree(run.images)
        drawn = pixels(draw_set(run, SNOW, BEACH, batch_size=size))
        assert np.abs(drawn - expected).max() <= TOLERANCE


def test_any_image_can_be_drawn_again_alone(run_of, draw_set):
    """A row of the manifest, its prompt and its seed, is all that an image is made of."""
    run = run_of()
    made = draw_set(run, SNOW, BEACH, images_per_prompt=2, seed=11, batch_size=1)
    for row in made.images:
        alone = draw_set(
            run, row.prompt, images_per_prompt=1, seed=row.seed, batch_size=1, set_name=f"again-{row.index}"
        )
        assert [image.sha256 for image in alone.images] == [row.sha256]


def test_training_and_generating_draw_the_same(tiny_base, photos, tmp_path, draw_set, pixels):
    """A saved and reloaded adapter gives the very pixels of the adapter in memory."""
    config = training.TrainConfig(
        concept=str(photos),
        base=str(tiny_base),
        resolution=32,
        steps=2,
        lr=0.05,
        sample_every=0,
        device="cpu",
        runs=str(tmp_path / "runs"),
    )
    base = find_base(str(tiny_base))
    session = training.Session.prepare(config, load_concept(photos), base, silent)
    run = training.RunFolder(tmp_path / "runs" / "fresh")
    training.execute(session, run, session.record("fresh", "training"))
    untrained = load_components(base, device=torch.device("cpu"), dtype=torch.float32)
    conditioning = encode_prompt(untrained, "sks cat in snow")
    sampling = Sampling(base.settings.sampling_steps, base.settings.guidance_scale, 32)
    [in_memory] = draw(session.components, [conditioning], [5], sampling)
    [of_the_base] = draw(untrained, [conditioning], [5], sampling)
    reloaded = pixels(draw_set(run, SNOW, images_per_prompt=1, seed=5))
    assert np.array_equal(reloaded[0], np.asarray(in_memory))
    assert not np.array_equal(reloaded[0], np.asarray(of_the_base))


@pytest.mark.parametrize("method", ["coeff-lora", "coeff-dora", "coeff", "lora", "dora"])
def test_without_the_adapter_it_is_the_base(method, run_of, draw_set, pixels, tiny_base, tmp_path):
    """--no-adapter, and both scales at 0, are the untouched base; scales of 1 are not."""
    run = run_of(method)
    # Not beside the run, where its pictures would be taken over and prove nothing.
    untouched, record = base_run(find_base(str(tiny_base)), "cat", "sks", tmp_path / "elsewhere")
    untouched.write(record)
    expected = pixels(draw_set(untouched, SNOW, images_per_prompt=2, no_adapter=True))
    none = pixels(draw_set(run, SNOW, images_per_prompt=2, no_adapter=True))
    off = pixels(draw_set(run, SNOW, images_per_prompt=2, lora_scale=0.0, alpha_scale=0.0))
    full = pixels(draw_set(run, SNOW, images_per_prompt=2))
    assert np.array_equal(none, expected)
    assert np.array_equal(off, expected)
    assert not np.array_equal(full, expected)


def test_each_scale_is_its_own(run_of, draw_set, pixels):
    """--lora-scale and --alpha-scale weaken different parts of a coeff-lora adapter."""
    run = run_of()
    drawn = [
        pixels(draw_set(run, SNOW, images_per_prompt=1, lora_scale=lora, alpha_scale=alpha))
        for lora, alpha in ((1.0, 1.0), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0))
    ]
    for index, one in enumerate(drawn):
        assert not any(np.array_equal(one, other) for other in drawn[index + 1 :])


class TestCompletion:
    """A set that was cut short is completed; what is there is never drawn again."""

    @pytest.fixture
    def counted(self, monkeypatch):
        """The seeds that were really drawn, in order."""
        seeds = []
        original = sampler.draw

        def counting(components, conditionings, batch, sampling):
            seeds.extend(batch)
            return original(components, conditionings, batch, sampling)

        monkeypatch.setattr(sampler, "draw", counting)
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
            assert sampler.sha256_of_file(made.folder.path / row["file"]) == row["sha256"]
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


class TestRefusals:
    """What cannot be drawn is refused before anything is written."""

    @pytest.fixture
    def refused(self, run_of, draw_set):
        def check(kind, match, *prompts, run=None, **changes):
            run = run or run_of()
            with pytest.raises(kind, match=match):
                draw_set(run, *(prompts or (SNOW,)), **changes)
            assert not run.images.exists()

        return check

    def test_size(self, refused):
        """The base cannot draw every size; the fitting multiple is named."""
        refused(ConfigError, "a size of 36 pixels .* multiple of 8", size=36)

    def test_prompt_too_long(self, refused):
        """A prompt whose end would be ignored is refused."""
        refused(PromptError, "77", "<V> cat " + "in the snow " * 30)

    def test_negative_too_long(self, refused):
        """So is a negative prompt."""
        refused(PromptError, "77", negative="snow " * 80)

    def test_unfinished_run(self, refused, run_of):
        """An interrupted run is finished first."""
        run = run_of()
        run.write(dataclasses.replace(run.read(), status="interrupted", steps_done=2))
        refused(
            RunError, "is interrupted after 2 of 3 steps; finish it with: coeffdream train --resume", run=run
        )

    @pytest.mark.parametrize(("lost", "left"), [(LORA_FILE, COEFF_FILE), (COEFF_FILE, LORA_FILE)])
    def test_half_an_adapter(self, lost, left, refused, run_of):
        """A LoRA without its coefficients, and the reverse, would draw something else."""
        run = run_of()
        (run.adapter / lost).unlink()
        refused(AdapterError, f"{left} without the {lost}", run=run)

    def test_lora_in_place_of_its_twin(self, refused, run_of, learned):
        """A plain LoRA in the folder of a coeff-lora run is noticed."""
        run = run_of()
        shutil.rmtree(run.adapter)
        shutil.copytree(learned("lora") / "adapter", run.adapter)
        refused(AdapterError, "holds a lora adapter where run.json says coeff-lora", run=run)

    def test_other_architecture(self, refused, run_of, tiny_base, tmp_path):
        """An adapter of another UNet is refused by its fingerprint, not by a crash."""
        from diffusers import UNet2DConditionModel

        base = tmp_path / "wider"
        shutil.copytree(tiny_base, base)
        config = {**UNet2DConditionModel.load_config(base / "unet"), "layers_per_block": 2}
        shutil.rmtree(base / "unet")
        UNet2DConditionModel.from_config(config).save_pretrained(base / "unet")
        refused(AdapterError, "trained on another architecture", base=base)

    def test_pictures_that_are_not_numbers(self, run_of, draw_set, monkeypatch):
        """An adapter turned up until it overflows ends in advice instead of black pictures."""
        from coeffdream.errors import BaseModelError

        with pytest.raises(BaseModelError, match="not numbers"):
            draw_set(run_of(), SNOW, images_per_prompt=1, alpha_scale=1e38, lora_scale=1e38)


def test_other_weights_are_told(run_of, draw_set, tiny_base, tmp_path):
    """The same architecture with other weights draws, and says that likeness may suffer."""
    from safetensors.torch import load_file, save_file

    base = tmp_path / "other"
    shutil.copytree(tiny_base, base)
    [file] = (base / "unet").glob("*.safetensors")
    save_file({name: value * 1.2 for name, value in load_file(file).items()}, file, {"format": "pt"})
    said = []
    draw_set(run_of(), SNOW, images_per_prompt=1, base=base, warn=said.append)
    assert ["trained on other weights" in line for line in said] == [True]


def test_base_run_is_found_again(tiny_base, tmp_path):
    """--no-adapter --base uses one folder per base, class and token, and never a trained run's."""
    base = find_base(str(tiny_base))
    first, record = base_run(base, "cat", "sks", tmp_path)
    assert not first.path.exists()
    first.write(record)
    assert first.read().status == "base"
    again, same = base_run(base, "cat", "sks", tmp_path)
    assert (again.path, same) == (first.path, record)
    other, named = base_run(base, "dog", "sks", tmp_path)
    assert other.path != first.path
    assert other.path.name == named.name


def test_the_adapter_of_another_run_is_not_drawn_with(run_of, draw_set, photos, tiny_base, tmp_path):
    """It is whole and fits; only run.json knows that it was trained elsewhere. Carried along with a folder, it draws."""
    from coeffdream.adapters.files import load_adapter, save_adapter

    run = run_of("lora")
    loaded = load_components(find_base(str(tiny_base)), device=torch.device("cpu"), dtype=torch.float32)
    adapter = load_adapter(loaded.unet, run.adapter, loaded.architecture)
    with torch.no_grad():
        next(iter(adapter.lora.values())).mul_(1.5)
    save_adapter(adapter, run.adapter, loaded.architecture)
    with pytest.raises(AdapterError, match=r"is not the adapter that run\.json says was trained"):
        draw_set(run, SNOW)
    assert not run.images.exists()
    moved = training.RunFolder(run_of("coeff-lora").path.rename(tmp_path / "elsewhere"))
    assert len(draw_set(moved, SNOW, images_per_prompt=1).images) == 1


class TestTooLittleMemory:
    """A batch that does not fit is halved, and the set is the one that smaller batches make."""

    @pytest.fixture
    def holds(self, monkeypatch):
        """Let the device hold so many pictures at a time."""
        original = sampler.draw

        def limit(most):
            def draw(components, conditionings, seeds, sampling):
                if len(seeds) > most:
                    raise torch.OutOfMemoryError("CUDA out of memory")
                return original(components, conditionings, seeds, sampling)

            monkeypatch.setattr(sampler, "draw", draw)

        return limit

    def test_the_batch_halves(self, run_of, draw_set, holds):
        """Every picture once, equal to those of batches of that size; the person hears which to ask for."""
        expected = draw_set(run_of(), SNOW, "<V> cat", images_per_prompt=3, batch_size=1)
        shutil.rmtree(expected.folder.path)
        holds(1)
        said: list[str] = []
        made = draw_set(run_of(), SNOW, "<V> cat", images_per_prompt=3, batch_size=4, warn=said.append)
        assert [row.sha256 for row in made.images] == [row.sha256 for row in expected.images]
        assert said == [
            "the memory does not suffice for 4 pictures at a time; going on with --batch-size 2",
            "the memory does not suffice for 2 pictures at a time; going on with --batch-size 1",
        ]

    def test_one_picture_that_does_not_fit(self, run_of, draw_set, holds):
        """One line with what would fit."""
        holds(0)
        with pytest.raises(ConfigError, match=r"one picture of 32 pixels; .* Try --size 16"):
            draw_set(run_of(), SNOW)


def test_pictures_of_one_color_are_told(run_of, draw_set, monkeypatch):
    """All black is what a broken model draws; the set is whole, and the person hears of it."""
    black = Image.new("RGB", (32, 32))
    monkeypatch.setattr(sampler, "draw", lambda components, batch, *_: [black] * len(batch))
    said: list[str] = []
    made = draw_set(run_of(), SNOW, images_per_prompt=3, warn=said.append)
    assert len(made.images) == 3
    assert said == [
        "3 of 3 pictures are of one color (00-0-cat-in-snow.png, ...); try a lower --lora-scale or --alpha-scale, "
        "or train again with a smaller --lr"
    ]


def test_a_diverged_run_is_not_drawn_with(run_of, draw_set):
    """Resuming it would diverge again, so that is not what is advised."""
    run = run_of()
    run.write(dataclasses.replace(run.read(), status="diverged"))
    with pytest.raises(RunError, match=r"diverged, .* train again with a smaller --lr \(it was 0\.05\)"):
        draw_set(run, SNOW)
