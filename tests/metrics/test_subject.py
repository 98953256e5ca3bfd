"""Likeness apart from background: known patches give known scores, and renders with and without the thing or the place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from coeffdream.data.masks import mask_beside
from coeffdream.errors import ConceptError
from coeffdream.metrics import features as maths
from coeffdream.metrics.dino import DinoEncoder
from coeffdream.metrics.encoders import Encoders
from coeffdream.metrics.evaluate import evaluate_run
from coeffdream.metrics.feature_cache import FeatureCache
from coeffdream.metrics.inputs import Reference
from coeffdream.metrics.measure import Scorer
from coeffdream.metrics.options import ScoringOptions
from coeffdream.metrics.patches import regions_of
from coeffdream.metrics.registry import SCORES
from coeffdream.records.encoders import EncoderRecord
from coeffdream.records.files import sha256_of_file
from coeffdream.records.run import RunFolder
from coeffdream.toybox.paths import DINO_SCORER
from coeffdream.toybox.world import render, sample_individual, silhouette
from coeffdream.toybox.world.concepts import CONCEPTS
from coeffdream.toybox.world.scene import Scene, compose
from coeffdream.toybox.world.wish import Wish

RED, GREEN, BLUE, GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128)


class Quarters:
    """Four patches of a 48-pixel picture, each of its colour: red, green and blue have nothing in common."""

    name = "quarters"
    width = 3

    def describe(self) -> EncoderRecord:
        return EncoderRecord(self.name, "quarters", "", "q" * 64, "", {}, 3, {})

    def images(self, images):
        return self.patches(images).mean(axis=1)

    def patches(self, images):
        return np.stack(
            [
                np.asarray(image.resize((2, 2), Image.Resampling.BOX), float).reshape(4, 3) / 255
                for image in images
            ]
        )

    def cover(self, mask):
        return np.asarray(mask.resize((2, 2), Image.Resampling.BOX), float).ravel() / 255


def quarters(*colours: tuple[int, int, int]) -> Image.Image:
    image = Image.new("RGB", (48, 48))
    for index, colour in enumerate(colours):
        y, x = divmod(index, 2)
        image.paste(colour, (24 * x, 24 * y, 24 * x + 24, 24 * y + 24))
    return image


def mask(*shares: float) -> Image.Image:
    """Each quarter covered by so much of its height."""
    image = Image.new("L", (48, 48))
    for index, share in enumerate(shares):
        y, x = divmod(index, 2)
        image.paste(255, (24 * x, 24 * y, 24 * x + 24, 24 * y + round(24 * share)))
    return image


ONLY = ScoringOptions(scores="subject,background")


def scored(make, cache, pictures, photos, *, masks):
    """The summary and record of pictures against photos, of Quarters."""
    run = make.run(photos=len(photos))
    own = make.set(run, templates=["a <V> CLASS"], per_prompt=len(pictures), colours=[GREY] * len(pictures))
    rows = own.read_images()
    for row, picture in zip(rows, pictures, strict=True):
        picture.save(own.path / row.file)
    own.manifest.unlink()
    own.append_images([replace(row, sha256=sha256_of_file(own.path / row.file)) for row in rows])
    record = run.read()
    where = Path(record.concept.folder)
    named = []
    for image, photo, each in zip(record.concept.images, photos, masks, strict=True):
        photo.save(where / image.file)
        named.append(replace(image, sha256=sha256_of_file(where / image.file)))
        if each is not None:
            each.save(mask_beside(where / image.file))
    run.write(replace(record, concept=replace(record.concept, images=named)))
    return evaluate_run(run, options=ONLY, encoders=Encoders(None, Quarters(), False), cache=cache)


def test_each_patch_counts_by_its_best_match():
    """By hand: the first patch is found whole, the second half (cos 45 degrees); where they are does not matter."""
    photo = [[2, 0], [0, 3]]
    assert maths.patch_alignment(photo, [[5, 0], [1, 1]]) == pytest.approx((1 + np.sqrt(0.5)) / 2)
    assert maths.patch_alignment(photo, [[1, 1], [5, 0]]) == pytest.approx((1 + np.sqrt(0.5)) / 2)
    assert maths.patch_alignment(photo, photo) == pytest.approx(1)


def test_known_patches_give_known_scores(make, cache):
    """The red quarter is the thing and the green one the place; each picture has one, both or neither."""
    photo, where = quarters(RED, GREEN, GREEN, GREEN), mask(1, 0, 0, 0)
    pictures = [
        quarters(BLUE, BLUE, BLUE, RED),
        quarters(GREEN, BLUE, BLUE, BLUE),
        quarters(RED, GREEN, BLUE, BLUE),
        quarters(BLUE, BLUE, BLUE, BLUE),
    ]
    record = scored(make, cache, pictures, [photo], masks=[where])
    assert [image.subject_alignment for image in record.per_image] == [1, 0, 1, 0]
    assert [image.background_leak for image in record.per_image] == [0, 1, 1, 0]
    assert (record.overall.subject_alignment, record.overall.background_leak) == (0.5, 0.5)
    assert not record.unmasked
    assert record.references[0].mask_sha256 is not None
    assert (record.overall.text_alignment, record.overall.diversity) == (None, None)
    assert (record.encoders.clip, record.encoders.dino.name) == (None, "quarters")


def test_a_second_time_nothing_is_encoded_and_the_numbers_are_the_same(make, cache, monkeypatch):
    """The outcome is kept by picture, photos and masks."""
    photo, where = quarters(RED, GREEN, BLUE, GREY), mask(1, 0.5, 0, 0.05)
    first = scored(make, cache, [quarters(GREY, RED, RED, BLUE)], [photo], masks=[where])
    monkeypatch.setattr(Quarters, "patches", lambda self, images: pytest.fail("encoded again"))
    run = RunFolder(make.root / "runs" / "one")
    again = evaluate_run(run, options=ONLY, encoders=Encoders(None, Quarters(), False), cache=cache)
    assert again.overall == first.overall


def test_photos_among_themselves_leave_themselves_out(make, cache):
    """The ceiling: each photo is looked for in the others, and never in itself."""
    photos = [quarters(RED, GREEN, GREEN, GREEN), quarters(RED, BLUE, BLUE, BLUE)]
    ceiling = scored(make, cache, [photos[0]], photos, masks=[mask(1, 0, 0, 0)] * 2).ceiling
    assert (ceiling.subject_alignment, ceiling.background_leak) == (1, 0)


def test_without_masks_the_whole_photo_is_the_thing(make, cache):
    """And the record says so, so that nobody takes it for likeness of the thing."""
    record = scored(
        make, cache, [quarters(RED, RED, RED, RED)], [quarters(RED, GREEN, RED, GREEN)], masks=[None]
    )
    assert record.overall.subject_alignment == 0.5
    assert record.overall.background_leak is None
    assert record.unmasked


def test_masks_for_some_photos_only_are_refused(make, cache):
    """Half of the photos would be compared whole, half not: one line instead."""
    with pytest.raises(ConceptError, match=r"no masks for 01\.png"):
        scored(
            make, cache, [quarters(*[RED] * 4)], [quarters(*[RED] * 4)] * 2, masks=[mask(1, 0, 0, 0), None]
        )


def test_patches_are_the_things_or_the_places_or_neither(tmp_path):
    """All but covered: the thing's. A tenth: still the place's. Between them neither; a small thing is where most is."""

    def regions(*shares):
        quarters(RED, GREEN, BLUE, GREY).save(tmp_path / "0.png")
        mask(*shares).save(tmp_path / "0.mask.png")
        [found] = regions_of(Quarters(), [Reference("0.png", tmp_path / "0.png", "a")])
        return found.subject.tolist(), found.background.tolist()

    assert regions(1, 0.96, 0.5, 0.05) == ([True, True, False, False], [False, False, False, True])
    assert regions(0.25, 0, 0, 0) == ([True, False, False, False], [False, True, True, True])


def test_what_the_crop_leaves_out_is_told(tmp_path, tiny_dino):
    """A thing at the edge of a panorama is outside of what the encoder looks at."""
    Image.new("RGB", (200, 40), RED).save(tmp_path / "0.png")
    edge = Image.new("L", (200, 40))
    edge.paste(255, (0, 0, 20, 40))
    edge.save(tmp_path / "0.mask.png")
    with pytest.raises(ConceptError, match=r"0\.png: what its mask marks lies outside"):
        regions_of(DinoEncoder(str(tiny_dino)), [Reference("0.png", tmp_path / "0.png", "a")])


def test_a_mask_lies_on_the_patches_that_show_the_thing(tiny_dino):
    """What `cover` says of a mask is where the same shape, painted, changes what the encoder is shown."""
    encoder = DinoEncoder(str(tiny_dino))
    shape = Image.new("L", (96, 64))
    shape.paste(255, (40, 10, 60, 30))
    painted = Image.composite(Image.new("RGB", shape.size, "white"), Image.new("RGB", shape.size), shape)
    shown = encoder._transform(painted).mean(dim=0)
    changed = (shown > shown.min() + 0.5).unfold(0, 7, 7).unfold(1, 7, 7).float().mean((2, 3)).flatten()
    np.testing.assert_allclose(encoder.cover(shape), changed, atol=0.15)


# On renders, by the embedded DINOv2.


@pytest.fixture(scope="module")
def toybox_scorer(tmp_path_factory):
    """(pictures of scenes, references of scenes) -> subject alignment and background leak, [n, R] each."""
    root = tmp_path_factory.mktemp("renders")
    scorer = Scorer(
        Encoders(None, DinoEncoder(str(DINO_SCORER)), True),
        FeatureCache(root / "features"),
        scores=(SCORES["subject"], SCORES["background"]),
    )

    def photo(scene: Scene) -> Reference:
        path = root / f"{abs(hash(scene))}.png"
        if not path.exists():
            render(scene, 72).save(path)
            silhouette(scene, 72).save(mask_beside(path))
        return Reference(path.name, path, sha256_of_file(path))

    def score(scenes: list[Scene], references: list[Scene]):
        found = scorer.patch_alignment(
            [photo(scene) for scene in scenes], [photo(scene) for scene in references], "patches"
        )
        return found.subject, found.background

    return score


@pytest.fixture(scope="module")
def effects(toybox_scorer):
    """[concept, case, photo] of subject alignment and of background leak, each the mean of four scenes. The cases: the
    thing; the same scene in another place; the same with another individual; and another individual in the first
    photo's scene, in that photo's own place and in another."""
    rng = np.random.default_rng(7)
    found = []
    for concept in CONCEPTS:
        photos = concept.scenes()
        scenes: list[list[Scene]] = [[], [], [], [], []]
        for place in rng.permutation(("snow", "jungle", "beach", "city", "grass", "night", "room", "desert"))[
            :4
        ]:
            other = str(
                rng.choice([each for each in ("water", "mountains", "grass", "night") if each != place])
            )
            moved = {"background": other, "background_colour": None, "seed": int(rng.integers(2**31))}
            stranger = sample_individual(rng, concept.individual.subject)
            own = compose(Wish(background=str(place)), rng, concept.individual)
            there = replace(photos[0], individual=stranger)
            cases = (
                own,
                replace(own, **moved),
                replace(own, individual=stranger),
                there,
                replace(there, **moved),
            )
            for case, scene in zip(scenes, cases, strict=True):
                case.append(scene)
        scores = toybox_scorer([scene for case in scenes for scene in case], photos)
        found.append([each.reshape(5, 4, -1).mean(axis=1) for each in scores])
    return np.array([row[0] for row in found]), np.array([row[1] for row in found])


def test_the_place_hardly_moves_subject_alignment(effects):
    """Another place alone moves a concept's score by less than a tenth of what another individual alone does."""
    subject = effects[0].mean(axis=-1)
    by_place = np.abs(subject[:, 0] - subject[:, 1]).mean()
    by_individual = (subject[:, 0] - subject[:, 2]).mean()
    assert by_individual > 0.1
    assert by_place < 0.1 * by_individual


def test_a_painted_background_moves_the_leak_and_not_the_subject(effects):
    """A stranger in a photo's own place: for every concept the leak of that photo rises, five times as much as its
    likeness at least, which moves by less than a quarter of what another individual does."""
    subject, leak = (each[..., 0] for each in effects)
    by_individual = (subject[:, 0] - subject[:, 2]).mean()
    leaks, moves = leak[:, 3] - leak[:, 4], np.abs(subject[:, 3] - subject[:, 4])
    assert (leaks > 0).all()
    assert leaks.mean() > 5 * moves.mean()
    assert moves.mean() < 0.25 * by_individual
