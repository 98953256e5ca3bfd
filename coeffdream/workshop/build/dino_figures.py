"""What the DINO scorer makes of renders that no training saw, and of pictures by the untouched base."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import Dinov2Model

from coeffdream.data.prompts import load_prompts
from coeffdream.metrics.features import vendi
from coeffdream.toybox.paths import DINO_SCORER, WEIGHTS
from coeffdream.toybox.world.concepts import CONCEPTS, PHOTO_SIDE, PHOTOS
from coeffdream.toybox.world.individual import sample_individual
from coeffdream.toybox.world.names import BACKGROUNDS, SUBJECTS
from coeffdream.toybox.world.scene import Scene, compose, render, silhouette
from coeffdream.toybox.world.wish import Wish
from coeffdream.workshop.build.dino import PATCH, seen
from coeffdream.workshop.build.shards import framed
from coeffdream.workshop.judge.base import painted

_SUBJECT, _BACKGROUND = (
    0.6,
    0.1,
)  # a patch is the subject's above the one share of it, the background's below the other


@torch.no_grad()
def tokens(model: Dinov2Model, pictures: list[Image.Image]) -> torch.Tensor:
    """[n, 1 + patches, D], each of length 1: CLS, then the patches row by row."""
    pixels = torch.stack([torch.from_numpy(np.array(picture.convert("RGB"))) for picture in pictures])
    images = seen(pixels.permute(0, 3, 1, 2))
    return F.normalize(torch.cat([model(part).last_hidden_state for part in images.split(50)]), dim=-1)


def above(high: torch.Tensor, low: torch.Tensor) -> float:
    """How often one of `high` is above one of `low`: the area under the ROC curve."""
    return float((high[:, None] > low).float().mean() + (high[:, None] == low).float().mean() / 2)


def photo_figures(features: torch.Tensor, subjects: list[str]) -> dict[str, float]:
    """features [concepts, photos, D] of length 1, and what each concept is."""
    concepts, photos, _ = features.shape
    rows = features.flatten(0, 1)
    cosine = rows @ rows.T
    concept = torch.arange(concepts).repeat_interleave(photos)
    same = concept[:, None] == concept
    pairs = same & ~torch.eye(len(rows), dtype=torch.bool)
    kind = torch.tensor([SUBJECTS.index(subject) for subject in subjects])[concept]
    nearest = cosine.clone().fill_diagonal_(-2).argmax(1)
    return {
        "cosine within a concept": float(cosine[pairs].mean()),
        "between two": float(cosine[~same].mean()),
        "pairs of one above pairs of two (AUC)": above(cosine[pairs], cosine[~same]),
        f"Vendi of {photos} photos": float(np.mean([vendi(group.numpy()) for group in features])),
        "nearest other photo: same concept": float((concept[nearest] == concept).float().mean()),
        "same subject": float((kind[nearest] == kind).float().mean()),
    }


def patch_figure(patches: torch.Tensor, covered: torch.Tensor) -> float:
    """patches [concepts, photos, N, D] of length 1, covered [concepts, photos, N] by the subject: the share of the
    subject's patches whose best match in another photo of the concept is the subject's and not the background's."""
    right = []
    for photos, shares in zip(patches, covered, strict=True):
        for one in range(len(photos)):
            for other in range(len(photos)):
                if one != other:
                    cosine = photos[one][shares[one] > _SUBJECT] @ photos[other].T
                    on = cosine[:, shares[other] > _SUBJECT].amax(1)
                    off = cosine[:, shares[other] < _BACKGROUND].amax(1)
                    right.append((on > off).float())
    return float(torch.cat(right).mean())


def coverage(scene: Scene) -> torch.Tensor:
    """[N]: the share of each patch that is the subject, in the part of the picture that is seen."""
    mask = np.array(silhouette(scene, 73))[4:68, 4:68] / 255
    side = 64 // PATCH
    return torch.from_numpy(mask).float().reshape(side, PATCH, side, PATCH).mean((1, 3)).flatten()


def shipped_photos(model: Dinov2Model) -> dict[str, float]:
    """The figures of the shipped concepts' photos: one thing in five places each."""
    scenes = [scene for concept in CONCEPTS for scene in concept.scenes()]
    found = tokens(model, [render(scene, PHOTO_SIDE) for scene in scenes]).unflatten(0, (-1, PHOTOS))
    covered = torch.stack([coverage(scene) for scene in scenes]).unflatten(0, (-1, PHOTOS))
    figures = photo_figures(found[:, :, 0], [concept.individual.subject for concept in CONCEPTS])
    return figures | {"subject's patches that find the subject": patch_figure(found[:, :, 1:], covered)}


def fresh_pairs(model: Dinov2Model, count: int = 200) -> dict[str, float]:
    """`count` individuals in two scenes each: how often the nearest other picture is the same individual, and how
    often at least the same subject."""
    pictures, subjects = [], []
    for index in range(count):
        rng = np.random.default_rng((19, index))
        one = sample_individual(rng)
        for _ in range(2):
            pictures.append(framed(compose(Wish(), rng, one), rng)[0])
            subjects.append(SUBJECTS.index(one.subject))
    features = tokens(model, pictures)[:, 0]
    nearest = (features @ features.T).fill_diagonal_(-2).argmax(1)
    kinds = torch.tensor(subjects)
    return {
        "same individual": float((nearest // 2 == torch.arange(2 * count) // 2).float().mean()),
        "same subject": float((kinds[nearest] == kinds).float().mean()),
    }


def individual_over_place(model: Dinov2Model, count: int = 200) -> float:
    """How often the same individual in another place is nearer than another individual of its subject in the same
    place."""
    pictures = []
    for index in range(count):
        rng = np.random.default_rng((23, index))
        one = sample_individual(rng)
        stranger = sample_individual(rng, one.subject)
        here, there = (str(place) for place in rng.choice(BACKGROUNDS[:-1], 2, replace=False))
        for who, place in ((one, here), (one, there), (stranger, here)):
            pictures.append(render(compose(Wish(background=place), rng, who), 64))
    first, moved, other = tokens(model, pictures)[:, 0].unflatten(0, (-1, 3)).unbind(1)
    return float(((first * moved).sum(1) > (first * other).sum(1)).float().mean())


def base_vendi(model: Dinov2Model, images_per_prompt: int = 4) -> float:
    """Vendi of the untouched base's pictures of the benchmark's prompts for a cat, 100 of them."""
    templates = load_prompts("toybox-live", class_noun="cat").templates
    captions = [text.replace("<V> ", "").replace("CLASS", "cat") for text in templates] * images_per_prompt
    pictures = [
        Image.fromarray(((picture.permute(1, 2, 0) + 1) * 127.5).round().byte().numpy())
        for picture in painted(WEIGHTS, captions, seed=0)
    ]
    return vendi(tokens(model, pictures)[:, 0].numpy())


def print_dino_figures() -> None:
    model = Dinov2Model.from_pretrained(DINO_SCORER).float().eval()
    for title, figures in (
        ("the shipped concepts", shipped_photos(model)),
        ("400 fresh pictures, the nearest other one", fresh_pairs(model)),
    ):
        print(f"DINO scorer, {title}:", ", ".join(f"{name} {value:.3f}" for name, value in figures.items()))
    print(
        f"DINO scorer, same individual elsewhere above another in its place: {individual_over_place(model):.3f}"
    )
    print(f"DINO scorer, Vendi of 100 pictures by the untouched base: {base_vendi(model):.2f}")
