"""The pages about other tools and about several runs: code blocks run as they stand, and the commands they name
have those options."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
from PIL import Image

import coeffdream
from coeffdream.adapters.files import save_adapter
from coeffdream.adapters.install import install, spec_for
from coeffdream.backbones.fingerprint import architecture_of
from coeffdream.cli.app import main
from coeffdream.config import TrainConfig

PAGE = (Path(__file__).parents[2] / "docs" / "elsewhere.md").read_text(encoding="utf-8")


def test_the_python_block_runs(tiny_base, tmp_path, monkeypatch):
    """With a pipeline of the miniature and an adapter where the block looks for it."""
    from diffusers import StableDiffusionXLPipeline

    pipe = StableDiffusionXLPipeline.from_pretrained(tiny_base, add_watermarker=False)
    architecture = architecture_of(pipe.unet)
    adapter = install(pipe.unet, spec_for(TrainConfig(), pipe.unet))
    save_adapter(adapter, tmp_path / "runs" / "latest", architecture)
    adapter.uninstall()
    monkeypatch.chdir(tmp_path)
    [block] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    asked = []

    def drawn(prompt: str) -> None:
        asked.append(prompt)
        pipe(prompt, height=32, width=32, num_inference_steps=1, output_type="latent")

    class Pipe:
        unet = pipe.unet

        def __call__(self, prompt: str) -> None:
            drawn(prompt)

    exec(compile(block, "elsewhere.md", "exec"), {"pipe": Pipe()})
    assert asked == ["a photo of a sks cat in the snow"]


def test_the_shell_block_runs(tiny_base, hub, tmp_path, monkeypatch, capsys):
    """Against a hub on this machine, with a run of the miniature; nothing but its last line draws."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cat").mkdir()
    Image.effect_noise((64, 48), 60).convert("RGB").save(tmp_path / "cat" / "0.png")
    config = {"name": "my_cat", "base": str(tiny_base), "steps": 1, "sample_every": 0, "resolution": 32}
    coeffdream.train("cat", **config, device="cpu")
    [block] = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.strip().splitlines():
        words = shlex.split(line, comments=True)[1:]
        if words[0] == "generate":
            words += ["--base", str(tiny_base), "--steps", "1", "--images-per-prompt", "1"]
        monkeypatch.setattr(sys, "argv", ["coeffdream", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0, (line, capsys.readouterr().err)
    assert "license: apache-2.0" in hub.files("me/my-cat")["README.md"].decode()
    assert hub.files("me/my-cat").keys() - {".gitattributes"} == {
        path.name for path in (tmp_path / "look").iterdir()
    }
    assert list((tmp_path / "runs").glob("me--my-cat-*/images/*/*.png"))


def test_a_pipeline_takes_a_run_from_the_hub(tiny_base, hub, tmp_path, monkeypatch):
    """coeffdream.load with hub:, and plain diffusers, as the model card has it; no folder of runs is made."""
    from diffusers import StableDiffusionXLPipeline

    monkeypatch.chdir(tmp_path)
    (tmp_path / "cat").mkdir()
    Image.effect_noise((64, 48), 60).convert("RGB").save(tmp_path / "cat" / "0.png")
    config = {"base": str(tiny_base), "steps": 1, "sample_every": 0, "resolution": 32, "device": "cpu"}
    run = coeffdream.train("cat", **config, runs=str(tmp_path / "trained"))
    monkeypatch.setattr(sys, "argv", ["coeffdream", "push", str(run.path), "me/my-cat"])
    with pytest.raises(SystemExit):
        main()
    pipe = StableDiffusionXLPipeline.from_pretrained(tiny_base, add_watermarker=False)
    assert coeffdream.load(pipe, "hub:me/my-cat").spec.method == "coeff-lora"
    coeffdream.unload(pipe)
    pipe.load_lora_weights("me/my-cat", weight_name="pytorch_lora_weights.safetensors")
    assert pipe.get_active_adapters()
    assert not (tmp_path / "runs").exists()
