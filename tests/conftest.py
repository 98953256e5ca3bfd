"""Fixtures shared by all rooms: a random SDXL-shaped miniature on disk, photos, and a cache of its own."""

from __future__ import annotations

import atexit
import gc
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Hashable
from functools import partialmethod
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # no test may reach for a network
os.environ["MPLBACKEND"] = "Agg"
# The models of the tests are tiny: more threads only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

# How long one example takes says more of what else the machine does.
settings.register_profile("untimed", settings.default, deadline=None)
settings.load_profile("untimed")

REAL_PHOTOS = Path(__file__).parents[1].parent / "shared" / "data" / "dreambooth"


def pytest_collection_finish() -> None:
    """torch and all that is loaded by now stay: a collection need not go through millions of objects again each time."""
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """No test reads or fills the user's cache."""
    monkeypatch.setenv("COEFFDREAM_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def real_photos() -> Path:
    """DreamBooth's photos, where this machine has them."""
    if not REAL_PHOTOS.is_dir():
        pytest.skip(f"real photos are not here ({REAL_PHOTOS})")
    return REAL_PHOTOS


@pytest.fixture(scope="session")
def shelf() -> dict[Hashable, Any]:
    """Bases and scorers that tests of this process have loaded."""
    return {}


@pytest.fixture
def loaded_once(shelf, tmp_path):
    """As in a worker of a study, what a test before has loaded is not loaded again, but for what lies in a test's own folder."""
    from coeffdream import warm

    warm.keep(None)
    warm._shelf.things = shelf
    yield
    warm.keep_nothing()
    for key in [key for key in shelf if str(tmp_path) in repr(key)]:
        del shelf[key]


@pytest.fixture
def few_validation_draws(monkeypatch) -> None:
    """For runs whose validation nobody looks at: an eighth of its passes through the UNet, which are most of theirs."""
    monkeypatch.setattr("coeffdream.training.validation.DRAWS", 2)


@pytest.fixture
def gxx() -> None:
    """torch's default compiler writes C++ for a CPU."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is not here")


@pytest.fixture
def nothing_compiled():
    """What was compiled before this test, or by it, is forgotten."""
    import torch

    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.fixture
def traced(monkeypatch) -> None:
    """A UNet's blocks are traced and split as for torch's own compiler, and run without it: seconds in place of minutes."""
    from diffusers import UNet2DConditionModel

    whole = UNet2DConditionModel.compile_repeated_blocks
    monkeypatch.setattr(
        UNet2DConditionModel, "compile_repeated_blocks", partialmethod(whole, backend="aot_eager")
    )


@pytest.fixture(scope="session")
def cat_photos(tmp_path_factory) -> Path:
    """Three small, distinct pictures of nothing in particular, in a folder that names a class."""
    folder = tmp_path_factory.mktemp("photos") / "cat2"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(3):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        coarse.resize((96 + 16 * index, 80), Image.Resampling.BICUBIC).save(folder / f"{index:02d}.png")
    return folder


@pytest.fixture
def cat_folder(cat_photos, tmp_path) -> Path:
    """The same pictures, for a test to alter."""
    return Path(shutil.copytree(cat_photos, tmp_path / "cat2"))


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory) -> Path:
    """A diffusers folder with SDXL's classes and layout, random weights, a second to load, 32 px."""
    return build_tiny_base(tmp_path_factory.mktemp("tiny-base"))


@pytest.fixture(scope="session")
def two_widths(tmp_path_factory) -> Path:
    """The same, but its two text encoders differ in width, as SDXL's do: by that a single file tells them apart."""
    return build_tiny_base(tmp_path_factory.mktemp("two-widths"), second_text_width=32)


@pytest.fixture(scope="session")
def original_layout() -> ModuleType:
    """tests/original.py: writes a diffusers folder as one file under the original names."""
    spec = importlib.util.spec_from_file_location("original", Path(__file__).with_name("original.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build_tiny_base(
    folder: Path, *, width: int = 16, prediction: str = "epsilon", second_text_width: int = 16
) -> Path:
    import torch
    from diffusers import (
        AutoencoderKL,
        EulerDiscreteScheduler,
        StableDiffusionXLPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    tokenizer = _byte_tokenizer(folder / "bytes")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        text = {
            "vocab_size": len(tokenizer),
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "projection_dim": 16,
            "eos_token_id": tokenizer.eos_token_id,
            "bos_token_id": tokenizer.bos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        }
        second = text | {"hidden_size": second_text_width, "projection_dim": second_text_width}
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(width, 2 * width),
            layers_per_block=1,
            norm_num_groups=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            mid_block_type="UNetMidBlock2DCrossAttn",
            attention_head_dim=(2, 4),
            transformer_layers_per_block=(1, 1),
            cross_attention_dim=16 + second_text_width,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=second_text_width + 6 * 8,
            use_linear_projection=True,
        )
        vae = AutoencoderKL(
            block_out_channels=(8, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            latent_channels=4,
            norm_num_groups=4,
            sample_size=32,
            mid_block_add_attention=False,
        )
        StableDiffusionXLPipeline(
            vae=vae,
            text_encoder=CLIPTextModel(CLIPTextConfig(**text, hidden_act="quick_gelu")),
            text_encoder_2=CLIPTextModelWithProjection(CLIPTextConfig(**second, hidden_act="gelu")),
            tokenizer=tokenizer,
            tokenizer_2=tokenizer,
            unet=unet,
            scheduler=EulerDiscreteScheduler(
                beta_start=0.00085,
                beta_end=0.012,
                beta_schedule="scaled_linear",
                prediction_type=prediction,
                timestep_spacing="leading",
                steps_offset=1,
            ),
        ).save_pretrained(folder / "base")
    settings = {"resolution": 32, "sampling_steps": 2, "guidance_scale": 3.0}
    (folder / "base" / "coeffdream.json").write_text(json.dumps(settings))
    return folder / "base"


def _byte_tokenizer(folder: Path):
    """CLIP's tokenizer with a vocabulary of single letters: enough to read any prompt."""
    from transformers import CLIPTokenizer

    letters = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256))]
    letters += [chr(256 + index) for index in range(256 - len(letters))]
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A model hub on this machine, and a client that knows no other, with an empty cache of its own."""
    from huggingface_hub import constants

    file = Path(__file__).parent / "sharing" / "hub_stand_in.py"
    spec = importlib.util.spec_from_file_location("hub_stand_in", file)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "hub_stand_in", module)
    spec.loader.exec_module(module)
    stand_in = module.StandIn()
    monkeypatch.setattr(constants, "ENDPOINT", stand_in.url)
    files = stand_in.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_TOKEN", module.TOKEN)
    yield stand_in
    stand_in.close()
