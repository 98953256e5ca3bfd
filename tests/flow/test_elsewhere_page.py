"""The page about other tools: its Python block runs as it stands, and the commands it names have those options."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from coeffdream.adapters.files import save_adapter
from coeffdream.adapters.install import install, spec_for
from coeffdream.backbones.fingerprint import architecture_of
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


COMMANDS = re.findall(r"`(coeffdream [a-z][^`]*)`", re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL))


@pytest.mark.parametrize("line", COMMANDS)
def test_the_commands_have_the_options_that_are_shown(line):
    from coeffdream.cli.app import app

    name, *words = shlex.split(line)[1:]
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
