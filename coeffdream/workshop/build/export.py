"""Writes the trained parts as what ships: a diffusers folder, an open_clip folder, a transformers folder; all fp16."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline, UniPCMultistepScheduler
from safetensors.torch import save_file

from coeffdream.records.files import replacing, write_json
from coeffdream.workshop.build.loop import ema_of, summary_of
from coeffdream.workshop.build.text import trained_towers
from coeffdream.workshop.build.unet import NOISE, new_unet, trained_vae

_MACHINE = ("_name_or_path", "is_local", "local_files_only")
PARTS = ("vae", "text", "unet", "decoder")
# What a person should train and draw with on this base; the values were measured, docs/toybox.md says how.
RECOMMENDED = {
    "resolution": 64,
    "sampling_steps": 10,
    "sampling_batch_size": 25,
    "guidance_scale": 3.0,
    "train_steps": 200,
    "batch_size": 4,
    "rank": 2,
    "learning_rate": 1.5e-3,
    "precision": "fp32",
    "gradient_checkpointing": False,
}


def export_pipeline(out: Path, target: Path) -> None:
    """The diffusers folder at `target`, from the newest checkpoints of vae, text and unet."""
    tokenizer, small, large = trained_towers(out)
    unet = new_unet()
    unet.load_state_dict(ema_of(out, "unet"))
    pipeline = StableDiffusionXLPipeline(
        vae=trained_vae(out),
        text_encoder=small,
        text_encoder_2=large,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        # Ten of its steps come nearer to a hundred than twenty of DDIM's do: docs/toybox.md.
        scheduler=UniPCMultistepScheduler(**NOISE),
        force_zeros_for_empty_prompt=False,
        add_watermarker=False,
    )
    pipeline.to(dtype=torch.float16)
    card = target / "README.md"
    kept = card.read_text(encoding="utf-8") if card.exists() else None
    fresh = target.with_name(target.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    pipeline.save_pretrained(fresh)
    tidy_configs(fresh)
    write_json(fresh / "coeffdream.json", RECOMMENDED)
    write_json(
        fresh / "training.json", {part: summary_of(out, part) for part in PARTS if (out / part).exists()}
    )
    if kept is not None:
        (fresh / "README.md").write_text(kept, encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)


def tidy_configs(folder: Path) -> None:
    """Configs record where and how they were loaded; that is nobody's business. And transformers would load by the
    dtype of the file, diffusers in float32: all parts are to load in float32 unless asked otherwise."""
    for path in folder.rglob("*.json"):
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            continue
        tidied = {key: value for key, value in values.items() if key not in _MACHINE}
        if "dtype" in tidied:
            tidied["dtype"] = "float32"
        if tidied != values:
            write_json(path, tidied)


def save_half(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """safetensors with floating tensors in fp16."""
    halves = {
        name: (value.half() if value.is_floating_point() else value).cpu().contiguous().clone()
        for name, value in tensors.items()
    }
    with replacing(path) as temporary:
        save_file(halves, temporary, metadata={"format": "pt"})
