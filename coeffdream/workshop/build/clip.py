"""The CLIP scorer, an open_clip model of its own: contrastive on pictures and captions, helped by labels.

It scores what the pipeline draws, so nothing of the pipeline is in it.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from open_clip import CLIP
from torch import nn

from coeffdream.records.files import write_json
from coeffdream.workshop.build.export import save_half, tidy_configs
from coeffdream.workshop.build.loop import Budget, Recipe, Trained, ema_of, run_loop
from coeffdream.workshop.build.shards import CLASSES, SHARD, normalised, shards
from coeffdream.workshop.build.text import tokenized
from coeffdream.workshop.build.tokens import POSITIONS, new_tokenizer

RECIPE = Recipe("clip", learning_rate=1e-3, batch_size=96, ema=0.995, weight_decay=0.05)
MEAN = STD = 0.5
FIRST_SHARD = 40  # pictures that the pipeline never saw


def model_config(vocabulary: int) -> dict:
    return {
        "embed_dim": 96,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 64, "layers": 4, "width": 96, "head_width": 24, "patch_size": 8},
        "text_cfg": {
            "context_length": POSITIONS,
            "vocab_size": vocabulary,
            "hf_tokenizer_name": "toybox",  # open_clip then takes the tokenizer files of the same folder
            "width": 64,
            "heads": 2,
            "layers": 3,
        },
    }


class _Taught(nn.Module):
    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.clip = CLIP(**model_config(vocabulary))
        self.reader = nn.Linear(96, sum(CLASSES.values()))


def train_clip(
    out: Path, budget: Budget, device: torch.device, seed: int = 0, count: int = 12, size: int = SHARD
) -> Trained:
    torch.manual_seed(seed)
    tokenizer = new_tokenizer()
    model = _Taught(len(tokenizer)).to(device)
    data = shards(out, FIRST_SHARD, count, size)
    tokens = tokenized(tokenizer, [caption for row in data.captions for caption in row])
    tokens = tokens.reshape(len(data.pixels), -1, POSITIONS)

    def loss_of(step: int, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        rows = torch.randint(len(tokens), (RECIPE.batch_size,), generator=generator)
        said = torch.randint(tokens.shape[1], (RECIPE.batch_size,), generator=generator)
        images = normalised(data.pixels[rows]).to(device)
        picture = F.normalize(model.clip.encode_image(images).float(), dim=-1)
        caption = F.normalize(model.clip.encode_text(tokens[rows, said].to(device)).float(), dim=-1)
        logits = model.clip.logit_scale.exp().clamp_max(100) * picture @ caption.T
        target = torch.arange(len(rows), device=device)
        contrast = 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))
        loss, subject = contrast, 0.0
        read = model.reader(picture * 10).split(list(CLASSES.values()), 1)
        for index, (part, truth) in enumerate(zip(read, data.labels[rows].T.to(device), strict=True)):
            loss = loss + 0.3 * F.cross_entropy(part, truth)
            if index == 0:
                subject = float((part.argmax(1) == truth).float().mean())
        found = float((logits.argmax(1) == target).float().mean())
        return loss, {"contrast": contrast.item(), "in_batch": found, "subject": subject}

    return run_loop(model, loss_of, RECIPE, budget, out, seed)


def trained_clip(out: Path) -> CLIP:
    model = _Taught(len(new_tokenizer()))
    model.load_state_dict(ema_of(out, "clip"), strict=False)  # the causal mask is a buffer
    return model.clip.eval().requires_grad_(False)


def export_clip(out: Path, target: Path) -> None:
    """An open_clip folder: load with `open_clip.create_model_and_transforms("local-dir:" + str(target))`."""
    tokenizer = new_tokenizer()
    target.mkdir(parents=True, exist_ok=True)
    config = {
        "model_cfg": model_config(len(tokenizer)),
        "preprocess_cfg": {
            "mean": [MEAN] * 3,
            "std": [STD] * 3,
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        },
    }
    write_json(target / "open_clip_config.json", config)
    save_half(trained_clip(out).state_dict(), target / "open_clip_model.safetensors")
    tokenizer.save_pretrained(target)
    tidy_configs(target)
