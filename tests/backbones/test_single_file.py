"""One .safetensors file in the original layout is the same base as the folder it was made of, without a network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from coeffdream.backbones.base import find_base
from coeffdream.backbones.clip_tokenizers import clip_tokenizer
from coeffdream.backbones.encode import encode_prompt
from coeffdream.backbones.load import load_components, meta_unet
from coeffdream.backbones.sampling import Sampling, draw
from coeffdream.backbones.source import SDXL, look_at
from coeffdream.backbones.variants import STEMS
from coeffdream.errors import BaseModelError
from coeffdream.training.step import NoiseSchedule

CPU = torch.device("cpu")
SAYS_SO = {"v_pred": torch.tensor([]), "ztsnr": torch.tensor([])}


@pytest.fixture
def folder(two_widths) -> Path:
    return two_widths


@pytest.fixture(scope="session")
def written(two_widths, original_layout, tmp_path_factory):
    """Makes the folder one file, with keys of its own."""
    unet = meta_unet(find_base(str(two_widths)))
    place = tmp_path_factory.mktemp("written")

    def write(name: str, extra=None) -> Path:
        return original_layout.write_original(two_widths, place / name, unet, extra)

    return write


def loaded(name: Path, dtype: torch.dtype = torch.float32, **read):
    return load_components(find_base(str(name), **read), device=CPU, dtype=dtype)


def drawn(components) -> bytes:
    conditioning = encode_prompt(components, "a photo of a sks cat")
    [image] = draw(components, [conditioning], [7], Sampling(2, 3.0, 32))
    return image.tobytes()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_it_draws_the_folders_pixels(folder, written, dtype):
    """Every weight bit for bit, under the same names; the settings beside the configs count."""
    file = written("model.safetensors")
    one, other = loaded(folder, dtype), loaded(file, dtype, base_config=str(folder))
    for part in STEMS:
        ours, theirs = (getattr(each, part).state_dict() for each in (one, other))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours), part
    assert drawn(one) == drawn(other)
    assert one.architecture == other.architecture
    assert one.sketch == other.sketch
    assert other.base.settings == one.base.settings
    record = other.identity()
    assert (record.kind, record.source, record.base_config) == ("file", str(file), str(folder))


def test_its_header_says_v_and_zero_snr(folder, written):
    """Trained and drawn so: the last step is pure noise, and the target is v."""
    said = loaded(written("v.safetensors", SAYS_SO), base_config=str(folder))
    schedule = NoiseSchedule.of(said.scheduler)
    assert schedule.prediction == "v_prediction"
    assert schedule.alphas_cumprod[-1] == 0
    assert said.scheduler.config.timestep_spacing == "trailing"
    said.scheduler.set_timesteps(2)
    assert said.scheduler.timesteps[0] == 999  # where nothing but noise is
    assert said.identity().prediction is None  # nothing was overridden
    only_v = look_at(
        find_base(str(written("only-v.safetensors", {"v_pred": torch.tensor([])})), base_config=str(folder))
    )
    assert only_v.scheduler.config.prediction_type == "v_prediction"
    assert NoiseSchedule.of(only_v.scheduler).alphas_cumprod[-1] > 0
    assert only_v.said == "SDXL in a single file, v-prediction"


def test_prediction_overrides_the_header_and_is_recorded(folder, written):
    """A merge may have lost the key, or kept it wrongly."""
    file = written("v.safetensors", SAYS_SO)
    read = {"base_config": str(folder)}
    told = look_at(find_base(str(file), prediction="epsilon", **read))
    assert told.scheduler.config.prediction_type == "epsilon"
    assert told.said == "SDXL in a single file, epsilon by --prediction with zero terminal SNR"
    assert told.base.record.prediction == "epsilon"
    same = look_at(find_base(str(file), prediction="v", **read))
    assert same.base.record.prediction is None  # it says the same itself
    other = look_at(find_base(str(folder), prediction="v"))
    assert NoiseSchedule.of(other.scheduler).prediction == "v_prediction"


def test_a_file_with_a_tensor_too_few(folder, written):
    """diffusers would leave it empty, and fail somewhere later."""
    file = written("model.safetensors")
    tensors = load_file(file)
    del tensors["model.diffusion_model.middle_block.1.proj_in.weight"]
    fewer = file.with_name("fewer.safetensors")
    save_file(tensors, fewer)
    with pytest.raises(
        BaseModelError, match=r"lacks weights that SDXL has \(its UNet holds \d+ tensors of \d+\)"
    ):
        loaded(fewer, base_config=str(folder))


def test_without_its_configs_it_is_no_sdxl(written):
    """The miniature is not of SDXL's size."""
    with pytest.raises(BaseModelError, match=r"text of width 48, not 2048; .*--base-config FOLDER"):
        loaded(written("model.safetensors"))


def test_a_file_cut_short(folder, written):
    """By a download that broke off."""
    file = written("model.safetensors")
    cut = file.with_name("cut.safetensors")
    cut.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(
        BaseModelError, match=r"cannot be loaded as an SDXL model: .*cut\.safetensors is not a readable"
    ):
        loaded(cut, base_config=str(folder))


def test_the_packages_configs_are_sdxls():
    """By the parameters of each part, as SDXL's report and the original files count them."""
    from accelerate import init_empty_weights
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    def config(part: str) -> dict:
        return json.loads((SDXL / part / "config.json").read_text())

    with init_empty_weights():
        parts = {
            "unet": UNet2DConditionModel.from_config(config("unet")),
            "vae": AutoencoderKL.from_config(config("vae")),
            "text_encoder": CLIPTextModel(CLIPTextConfig(**config("text_encoder"))),
            "text_encoder_2": CLIPTextModelWithProjection(CLIPTextConfig(**config("text_encoder_2"))),
        }
    counted = {name: sum(each.numel() for each in part.parameters()) for name, part in parts.items()}
    assert counted == {
        "unet": 2_567_463_684,
        "vae": 83_653_863,
        "text_encoder": 123_060_480,
        "text_encoder_2": 694_659_840,
    }


HARD = [
    "a photo of a sks cat",
    "naïve CAFÉ, it's 3000 dollars — 🙂",
    "  many   spaces\tand\nlines",
    "日本語",
    "x" * 200,
]


def test_the_tokenizers_are_made_from_open_clips_vocabulary():
    """Its own tokenizer reads the same, byte by byte and merge by merge; the second pads with '!'."""
    import open_clip

    theirs = open_clip.get_tokenizer("ViT-B-32")
    for part, padding in (("tokenizer", 49407), ("tokenizer_2", 0)):
        ours = clip_tokenizer(part)
        assert len(ours) == 49408
        for text in HARD:
            wanted = theirs([text])[0].tolist()
            end = wanted.index(49407) + 1
            got = ours(text, padding="max_length", truncation=True, max_length=77).input_ids
            assert got == wanted[:end] + [padding] * (77 - end)
            assert len(ours(text).input_ids) >= end


FULL_SIZE = """
import sys, torch
from pathlib import Path
from coeffdream.backbones.base import find_base
from coeffdream.backbones.load import load_components
from coeffdream.backbones.variants import STEMS
folder, file = Path(sys.argv[1]), sys.argv[2]
cpu = torch.device("cpu")
one = load_components(find_base(file), device=cpu, dtype=torch.float16)
from safetensors import safe_open
for part in STEMS:
    [weights] = (folder / part).glob("*.safetensors")
    held = getattr(one, part).state_dict()
    with safe_open(weights, "pt") as opened:
        names = list(opened.keys())
        assert set(names) == set(held), part
        for name in names:
            assert torch.equal(held[name], opened.get_tensor(name).to(held[name].dtype)), name
tokens = one.tokenizer_2("a cat", padding="max_length").input_ids
assert tokens[:4] == [49406, 320, 2368, 49407] and tokens[4:] == [0] * 73
print("equal", one.architecture)
"""


@pytest.mark.slow
def test_a_file_of_full_size_loads_with_an_empty_cache(tmp_path, original_layout):
    """SDXL's true size, random weights in float16: 7 GB twice on the disk. Configs and vocabulary are the package's."""
    from accelerate import init_empty_weights
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    made = {
        "unet": lambda config: UNet2DConditionModel.from_config(config),
        "vae": lambda config: AutoencoderKL.from_config(config),
        "text_encoder": lambda config: CLIPTextModel(CLIPTextConfig(**config)),
        "text_encoder_2": lambda config: CLIPTextModelWithProjection(CLIPTextConfig(**config)),
    }
    values = torch.randn(1 << 20, generator=torch.Generator().manual_seed(0)).mul(0.02).half()
    for part, stem in STEMS.items():
        with init_empty_weights():
            model = made[part](json.loads((SDXL / part / "config.json").read_text()))
        shapes = {name: weight.half() for name, weight in model.named_parameters()}
        numbers = {name: number for number, name in enumerate(shapes)}

        def made_up(name: str, shapes=shapes, numbers=numbers) -> torch.Tensor:
            """Of the name's own, so that no two tensors are alike."""
            count = shapes[name].numel()
            return values.roll(numbers[name]).repeat(-(-count // len(values)))[:count]

        (tmp_path / "folder" / part).mkdir(parents=True)
        original_layout.write(tmp_path / "folder" / part / f"{stem}.safetensors", shapes, made_up)
    file = original_layout.write_original(
        tmp_path / "folder", tmp_path / "sdxl.safetensors", meta_unet(find_base("sdxl"))
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "empty")}
    command = [sys.executable, "-c", FULL_SIZE, str(tmp_path / "folder"), str(file)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert ended.stdout.startswith("equal ")
