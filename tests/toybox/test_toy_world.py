"""The drawn world: same bytes for the same seed, captions that are understood, concepts that stay held out."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from coeffdream.errors import PromptError
from coeffdream.toybox.vocabulary import unknown_words
from coeffdream.toybox.world import (
    HELD_OUT,
    Wish,
    compose,
    describe,
    read_caption,
    render,
    sample_individual,
    sample_scene,
    silhouette,
)
from coeffdream.toybox.world.concepts import CONCEPTS, LIVE_SUBJECTS
from coeffdream.toybox.world.names import ACCESSORIES, BACKGROUNDS, COLOURS, PATTERNS, SUBJECTS

ROOT = Path(__file__).parents[2]


def templates(kind: str) -> list[str]:
    lines = (ROOT / "prompts" / f"toybox-{kind}.txt").read_text().splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def test_same_seed_same_bytes():
    """A scene, its caption and its picture depend on the seed alone."""
    first, second = (np.random.default_rng(5) for _ in range(2))
    one, other = sample_scene(first), sample_scene(second)
    assert one == other
    assert describe(one, first) == describe(other, second)
    assert render(one).tobytes() == render(other).tobytes()
    assert render(one).tobytes() != render(sample_scene(np.random.default_rng(6))).tobytes()


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_subject_pattern_and_place_draws(subject):
    """Each subject can be drawn in each pattern and place, and the picture shows something."""
    rng = np.random.default_rng(1)
    for place in BACKGROUNDS:
        for pattern in PATTERNS:
            picture = render(compose(Wish(subject, pattern=pattern, background=place), rng))
            assert picture.size == (64, 64)
            assert np.asarray(picture).std() > 5


def test_large_render_is_the_small_one_in_detail():
    """A 256 px photo that is made smaller looks like the training render of the same scene."""
    scene = CONCEPTS[0].scenes()[0]
    large = render(scene, 256).resize((64, 64), Image.Resampling.LANCZOS)
    difference = np.abs(np.asarray(large, float) - np.asarray(render(scene), float)).mean()
    assert difference < 4.0


def test_captions_are_read_back():
    """What a caption says of its scene is what is read from it, and nothing else."""
    for seed in range(400):
        rng = np.random.default_rng(seed)
        scene = sample_scene(rng)
        caption = describe(scene, rng)
        assert unknown_words(caption) == []
        wish = read_caption(caption)
        assert wish.subject == scene.individual.subject
        for said, true in (
            (wish.colour, scene.individual.body_name),
            (wish.pattern, scene.individual.pattern),
            (wish.background, scene.background),
            (wish.background_colour, scene.background_name),
            (wish.accessory, scene.accessory),
            (wish.accessory_colour, scene.accessory_name),
        ):
            assert said in (None, true), caption


def test_a_wish_is_granted():
    """A scene composed from a caption shows what the caption asks for."""
    wish = read_caption("a photo of a striped purple sks cat wearing a red bow tie on an orange backdrop")
    assert wish == Wish("cat", "purple", "striped", "backdrop", "orange", "bow tie", "red")
    scene = compose(wish, np.random.default_rng(0))
    assert (scene.individual.body_name, scene.individual.pattern) == ("purple", "striped")
    assert (scene.background_name, scene.accessory, scene.accessory_name) == ("orange", "bow tie", "red")


def test_impossible_captions_are_refused():
    """No subject of this world, or clothes on a thing without a face: refused, and told what would do."""
    with pytest.raises(PromptError, match="cat, dog"):
        read_caption("a photo of a zebra")
    with pytest.raises(PromptError, match="can wear"):
        read_caption("a car wearing a red hat")


@pytest.mark.parametrize("kind", ["live", "object"])
def test_prompt_lists_are_drawable(kind):
    """25 templates each; every one drawn with a fitting concept, and no word of it unknown."""
    lines = templates(kind)
    assert len(lines) == len(set(lines)) == 25
    concepts = [concept for concept in CONCEPTS if concept.live == (kind == "live")]
    for line in lines:
        assert "<V> CLASS" in line
        for concept in concepts:
            prompt = line.replace("<V>", "sks").replace("CLASS", concept.individual.subject)
            assert unknown_words(prompt) == []
            wish = read_caption(prompt)
            assert wish.subject == concept.individual.subject
            assert wish != Wish(wish.subject), f"{prompt!r} asks for nothing"
            compose(wish, np.random.default_rng(0))


def test_concepts_are_held_out():
    """No training individual has a concept's subject and pair of colours; every concept is on the list."""
    concepts = {
        (one.individual.subject, one.individual.body_name, one.individual.second_name) for one in CONCEPTS
    }
    assert concepts == HELD_OUT
    rng = np.random.default_rng(0)
    assert not any(sample_individual(rng).held_out for _ in range(3000))
    # Asking for a held-out pair outright yields another second colour.
    assert sample_individual(rng, "cat", "orange", second="white").second_name != "white"


def test_concept_folders_hold_what_the_world_draws():
    """Each folder of concepts/ has its five pictures and says its class and kind truly."""
    for concept in CONCEPTS:
        folder = ROOT / "concepts" / concept.name
        text = (folder / "concept.toml").read_text()
        assert f'class = "{concept.individual.subject}"' in text
        assert f"live = {str(concept.individual.subject in LIVE_SUBJECTS).lower()}" in text
        pictures = sorted(folder.glob("??.png"))
        assert len(pictures) == 5
        drawn = np.asarray(render(concept.scenes()[2], 256), float)
        with Image.open(pictures[2]) as stored:
            assert np.abs(np.asarray(stored, float) - drawn).mean() < 1.0


def test_concept_folders_hold_the_masks_of_their_pictures():
    """concepts/ ships where each thing is, as the renderer knows it."""
    for concept in CONCEPTS:
        for index, scene in enumerate(concept.scenes()):
            with Image.open(ROOT / "concepts" / concept.name / f"{index:02d}.mask.png") as stored:
                assert stored.mode == "L"
                assert (
                    np.abs(np.asarray(stored, float) - np.asarray(silhouette(scene, 256), float)).mean() < 1.0
                )


@pytest.mark.parametrize("subject", SUBJECTS)
def test_outside_its_silhouette_a_scene_is_its_place_alone(subject):
    """The mask is the subject's, whole and nothing else: two individuals in one place differ only inside of it."""
    rng = np.random.default_rng(4)
    one, other = (compose(Wish(subject, color), rng) for color in ("red", "blue"))
    other = replace(one, individual=replace(other.individual, shape=one.individual.shape))
    assert other.background == one.background
    inside = np.asarray(silhouette(one)) > 0
    differs = (np.asarray(render(one)) != np.asarray(render(other))).any(-1)
    assert not differs[~inside].any()
    assert differs[inside].mean() > 0.4
    assert 0.1 < inside.mean() < 0.6


def test_what_is_worn_belongs_to_the_silhouette():
    """A hat is neither hidden by a mask nor taken for the place."""
    bare = compose(Wish("cat"), np.random.default_rng(2))
    hatted = replace(bare, accessory="hat", accessory_name="red", accessory_colour=(200, 30, 30))
    assert np.asarray(silhouette(hatted), float).sum() > np.asarray(silhouette(bare), float).sum()
    assert silhouette(bare, 64, 128).size == (128, 64)


def test_unknown_words_are_named_once():
    """Words outside the grammar are reported in order; the placeholder and punctuation are not words."""
    assert unknown_words("A zebra <V> cat, in the snow. zebra pants!") == ["zebra", "pants"]
    assert unknown_words("a photo of a <V> cat") == []
    assert all(unknown_words(word) == [] for word in (*SUBJECTS, *COLOURS, *ACCESSORIES))


def test_the_world_needs_no_torch():
    """Concepts, prompts and warnings must be had without the heavy libraries."""
    code = (
        "import sys; import coeffdream.toybox.world.concepts, coeffdream.toybox.vocabulary, coeffdream.toybox.paths;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'diffusers', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
