"""What cannot be drawn, or would be black or another's, is refused or told."""

from __future__ import annotations

import dataclasses
import shutil

import pytest
import torch
from PIL import Image

from coeffdream.backbones.base import find_base
from coeffdream.backbones.load import load_components
from coeffdream.errors import AdapterError, ConfigError, PromptError, RunError
from coeffdream.generation import batches
from coeffdream.records.run import COEFF_FILE, LORA_FILE
from coeffdream.training import run as training

SNOW, BEACH = "<V> cat in snow", "<V> cat on a beach"


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
        original = batches.draw

        def limit(most):
            def draw(components, conditionings, seeds, sampling):
                if len(seeds) > most:
                    raise torch.OutOfMemoryError("CUDA out of memory")
                return original(components, conditionings, seeds, sampling)

            monkeypatch.setattr(batches, "draw", draw)

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
    monkeypatch.setattr(batches, "draw", lambda components, batch, *_: [black] * len(batch))
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
