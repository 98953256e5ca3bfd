"""The two CLIP text towers: taught to read, by telling from the end token all that a caption asks for.

Both the last layer and the one before it, which is what SDXL's cross-attention sees, must tell it. Nothing in
the pictures reaches them; the scorers have towers of their own.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from coeffdream.toybox.world.grammar import read_caption
from coeffdream.toybox.world.names import ACCESSORIES, BACKGROUNDS, COLOURS, PATTERNS, SUBJECTS
from coeffdream.workshop.build.loop import Budget, Recipe, Trained, ema_of, run_loop
from coeffdream.workshop.build.shards import SHARD, shards
from coeffdream.workshop.build.tokens import POSITIONS, new_tokenizer

PROJECTION = 96
RECIPE = Recipe("text", learning_rate=1.5e-3, batch_size=128, ema=0.99, save_every=60, bfloat16=False)
# What a caption may ask for, with the answers; "not said" is one more.
ASKED: dict[str, tuple[str, ...]] = {
    "subject": SUBJECTS,
    "colour": COLOURS,
    "pattern": PATTERNS,
    "background": BACKGROUNDS,
    "background_colour": COLOURS,
    "accessory": ACCESSORIES,
    "accessory_colour": COLOURS,
}


def new_towers(tokenizer: CLIPTokenizer) -> tuple[CLIPTextModel, CLIPTextModelWithProjection]:
    common = {
        "vocab_size": len(tokenizer),
        "num_hidden_layers": 3,
        "max_position_embeddings": POSITIONS,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "projection_dim": PROJECTION,
    }
    small = CLIPTextConfig(
        hidden_size=64, intermediate_size=256, num_attention_heads=2, hidden_act="quick_gelu", **common
    )
    large = CLIPTextConfig(
        hidden_size=128, intermediate_size=512, num_attention_heads=4, hidden_act="gelu", **common
    )
    return CLIPTextModel(small), CLIPTextModelWithProjection(large)


def tokenized(tokenizer: CLIPTokenizer, captions: list[str]) -> torch.Tensor:
    """int64 [n, POSITIONS], padded as the pipeline pads."""
    rows = tokenizer(
        captions, padding="max_length", max_length=POSITIONS, truncation=True, return_tensors="pt"
    )
    return rows.input_ids


def asked(caption: str) -> list[int]:
    """The answers in ASKED's order, 0 for what is not said."""
    wish = read_caption(caption)
    answers = []
    for name, options in ASKED.items():
        value = getattr(wish, name)
        answers.append(0 if value is None else options.index(value) + 1)
    return answers


class _Readers(nn.Module):
    """Both towers with a linear reader on each layer that something downstream looks at."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.small, self.large = new_towers(tokenizer)
        answers = sum(len(options) + 1 for options in ASKED.values())
        self.readers = nn.ModuleList(nn.Linear(width, answers) for width in (64, 64, 128, PROJECTION))

    def forward(self, tokens: torch.Tensor, ends: torch.Tensor) -> list[torch.Tensor]:
        rows = torch.arange(len(tokens), device=tokens.device)
        small = self.small(tokens, output_hidden_states=True)
        large = self.large(tokens, output_hidden_states=True)
        seen = (
            small.hidden_states[-2][rows, ends],
            small.pooler_output,
            large.hidden_states[-2][rows, ends],
            large.text_embeds,
        )
        return [reader(value) for reader, value in zip(self.readers, seen, strict=True)]


def train_text(
    out: Path, budget: Budget, device: torch.device, seed: int = 0, count: int = 3, size: int = SHARD
) -> Trained:
    torch.manual_seed(seed)
    tokenizer = new_tokenizer()
    model = _Readers(tokenizer).to(device)
    captions = sorted({caption for row in shards(out, 0, count, size).captions for caption in row})
    tokens = tokenized(tokenizer, captions)
    ends = (tokens == tokenizer.eos_token_id).int().argmax(1)
    answers = torch.tensor([asked(caption) for caption in captions])
    widths = [len(options) + 1 for options in ASKED.values()]

    def loss_of(step: int, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        rows = torch.randint(len(tokens), (RECIPE.batch_size,), generator=generator)
        truth = answers[rows].to(device)
        loss, right = torch.zeros((), device=device), torch.ones(len(rows), dtype=torch.bool, device=device)
        for logits in model(tokens[rows].to(device), ends[rows].to(device)):
            for part, target in zip(logits.split(widths, 1), truth.T, strict=True):
                loss = loss + F.cross_entropy(part, target)
                right &= part.argmax(1) == target
        return loss, {"all_read": float(right.float().mean())}

    return run_loop(model, loss_of, RECIPE, budget, out, seed)


def trained_towers(out: Path) -> tuple[CLIPTokenizer, CLIPTextModel, CLIPTextModelWithProjection]:
    """Tokenizer and EMA towers of the newest checkpoint, in eval mode and frozen."""
    tokenizer = new_tokenizer()
    model = _Readers(tokenizer)
    model.load_state_dict(ema_of(out, "text"))
    model.eval().requires_grad_(False)
    return tokenizer, model.small, model.large


@torch.no_grad()
def encoded(
    tokens: torch.Tensor, small: CLIPTextModel, large: CLIPTextModelWithProjection
) -> tuple[torch.Tensor, torch.Tensor]:
    """SDXL's conditioning: the layers before the last side by side [n, POSITIONS, 192], and pooled [n, 96]."""
    first = small(tokens, output_hidden_states=True)
    second = large(tokens, output_hidden_states=True)
    return torch.cat([first.hidden_states[-2], second.hidden_states[-2]], -1), second.text_embeds
