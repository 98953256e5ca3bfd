"""`python -m coeffdream.workshop.build.measure`: what the shipped VAE and scorers are worth, on renders that no part saw."""

from __future__ import annotations

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from coeffdream.toybox.paths import CLIP_SCORER, WEIGHTS
from coeffdream.toybox.world.grammar import read_caption
from coeffdream.toybox.world.names import ACCESSORIES, BACKGROUNDS, COLOURS, PATTERNS, SUBJECTS
from coeffdream.toybox.world.wish import Wish
from coeffdream.workshop.build.dino_figures import print_dino_figures
from coeffdream.workshop.build.shards import LABELS, draw_shard, normalised
from coeffdream.workshop.build.vae import psnr

FRESH = 9100


@torch.no_grad()
def vae_fidelity(count: int = 256) -> float:
    """PSNR in dB of the shipped VAE, encoded and decoded."""
    vae = AutoencoderKL.from_pretrained(WEIGHTS / "vae", torch_dtype=torch.float32)
    images = normalised(draw_shard(FRESH, count).pixels)
    decoded = torch.cat([vae.decode(vae.encode(part).latent_dist.mode()).sample for part in images.split(32)])
    return psnr(images, decoded.clamp(-1, 1))


@torch.no_grad()
def clip_figures(sets: int = 5, count: int = 192) -> dict[str, float]:
    """Share of captions whose own picture is the nearest of `count`, and of pictures whose noun is the nearest of 10,
    means over `sets`. Captions leave much open and several pictures of a set may fit one: `by the labels` is what a
    reader who makes no mistake would find, guessing among those that fit."""
    name = f"local-dir:{CLIP_SCORER}"
    model = open_clip.create_model(name).eval()
    tokenizer = open_clip.get_tokenizer(name)
    nouns = F.normalize(model.encode_text(tokenizer([f"a {subject}" for subject in SUBJECTS])), dim=-1)
    found, named, possible = [], [], []
    for index in range(sets):
        data = draw_shard(FRESH + 1 + index, count)
        pictures = F.normalize(model.encode_image(normalised(data.pixels)), dim=-1)
        captions = F.normalize(model.encode_text(tokenizer([row[0] for row in data.captions])), dim=-1)
        found.append(((captions @ pictures.T).argmax(1) == torch.arange(count)).float().mean())
        named.append(((pictures @ nouns.T).argmax(1) == data.labels[:, 0]).float().mean())
        wishes = [read_caption(row[0]) for row in data.captions]
        fits = np.array([[_fits(labels, wish) for labels in data.labels.tolist()] for wish in wishes])
        possible.append((fits.diagonal() / fits.sum(1).clip(1)).mean())
    return {
        "captions that find their picture": float(np.mean(found)),
        "by the labels": float(np.mean(possible)),
        "noun": float(np.mean(named)),
    }


def _fits(labels: list[int], wish: Wish) -> bool:
    """Whether a picture of these labels is what `wish` asks for. Whoever wears something is said to in nearly every
    caption, so a caption without it means nobody who does."""
    shown = dict(zip(LABELS, labels, strict=True))
    return (
        SUBJECTS[shown["subject"]] == wish.subject
        and wish.colour in (None, COLOURS[shown["colour"]])
        and wish.pattern in (None, PATTERNS[shown["pattern"]])
        and wish.background in (None, BACKGROUNDS[shown["background"]])
        and wish.background_colour in (None, ["", *COLOURS][shown["background_colour"]])
        and wish.accessory == [None, *ACCESSORIES][shown["accessory"]]
        and wish.accessory_colour in (None, ["", *COLOURS][shown["accessory_colour"]])
    )


if __name__ == "__main__":
    print(f"VAE: {vae_fidelity():.2f} dB")
    print("CLIP scorer:", ", ".join(f"{name} {value:.1%}" for name, value in clip_figures().items()))
    print_dino_figures()
