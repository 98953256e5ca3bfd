"""Training the parts: the same tensors whether in one go or resumed, and shards without held-out individuals."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors import safe_open

from coeffdream.toybox.world.grammar import WORDS
from coeffdream.toybox.world.individual import HELD_OUT
from coeffdream.toybox.world.names import COLOURS, SUBJECTS
from coeffdream.workshop.build import dino, text, vae
from coeffdream.workshop.build.dino import train_dino
from coeffdream.workshop.build.loop import Budget, ema_of
from coeffdream.workshop.build.shards import LABELS, draw_shard, shard
from coeffdream.workshop.build.text import train_text
from coeffdream.workshop.build.tokens import learn_merges, new_tokenizer
from coeffdream.workshop.build.unet import latents_of
from coeffdream.workshop.build.vae import LATENT_CHANNELS, fold_decoder, new_vae, train_decoder, train_vae

CPU = torch.device("cpu")


def test_shards_are_the_same_again_and_hold_nobody_held_out(tmp_path):
    """A shard is drawn once and read back as drawn; no label triple in it belongs to a concept."""
    drawn, stored = draw_shard(3, 200), shard(tmp_path, 3, 200)
    again = shard(tmp_path, 3, 200)
    for other in (stored, again):
        assert torch.equal(drawn.pixels, other.pixels)
        assert drawn.captions == other.captions
    at = [LABELS.index(name) for name in ("subject", "colour", "second")]
    triples = {
        (SUBJECTS[subject], COLOURS[colour], COLOURS[second])
        for subject, colour, second in drawn.labels[:, at].tolist()
    }
    assert len(triples) > 100
    assert not triples & HELD_OUT


def test_sizes_in_a_shard_vary():
    """Size conditioning is alive only if crops and original sizes differ from picture to picture."""
    sizes = draw_shard(4, 120).sizes
    assert all(len(sizes[:, column].unique()) > 3 for column in range(4))
    assert sizes[:, 4:].unique().tolist() == [64]


@pytest.mark.parametrize(("train", "name"), [(train_vae, "vae"), (train_text, "text"), (train_dino, "dino")])
def test_resumed_training_gives_the_same_tensors(tmp_path, monkeypatch, train, name):
    """A run that stops after a step and goes on for another is, bit for bit, the run of two."""
    monkeypatch.setattr(vae, "RECIPE", replace(vae.RECIPE, batch_size=1))
    monkeypatch.setattr(text, "RECIPE", replace(text.RECIPE, batch_size=4))
    monkeypatch.setattr(dino, "RECIPE", replace(dino.RECIPE, batch_size=8))
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    # With a budget in steps the learning rate follows the step, so both runs must plan for two.
    monkeypatch.setattr(
        Budget, "progress", lambda self, step, seconds: 1.0 if step >= self.steps else step / 2
    )
    train(whole, Budget(steps=2), CPU, count=1, size=8)
    train(halves, Budget(steps=1), CPU, count=1, size=8)
    train(halves, Budget(steps=2), CPU, count=1, size=8)
    first, second = ema_of(whole, name), ema_of(halves, name)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    with safe_open(halves / name / "state.safetensors", "pt") as file:
        assert file.metadata()["step"] == "2"


def test_a_budget_is_one_of_two():
    """Minutes and steps at once, or neither, is no budget."""
    for minutes, steps in ((None, None), (1.0, 10)):
        with pytest.raises(ValueError, match="one of the two"):
            Budget(minutes, steps)


def test_every_grammar_word_is_one_token():
    """The tokenizer keeps each word of the grammar whole, the identifier too, and spells the rest in bytes."""
    tokenizer = new_tokenizer()
    assert all(len(tokenizer(word).input_ids) == 3 for word in WORDS)
    assert len(tokenizer("zebra").input_ids) > 3
    assert learn_merges(("aaa",)) == [("a", "a"), ("aa", "a</w>")]
    padded = tokenizer("a cat", padding="max_length").input_ids
    assert len(padded) == tokenizer.model_max_length == 32
    assert padded[-1] == tokenizer.eos_token_id == max(tokenizer.get_vocab().values())


def test_vae_has_factor_eight():
    """64 x 64 pixels become 8 x 8 latents and come back as 64 x 64 pixels."""
    vae = new_vae()
    with torch.no_grad():
        latents = vae.encode(torch.zeros(1, 3, 64, 64)).latent_dist.mode()
        assert latents.shape == (1, LATENT_CHANNELS, 8, 8)
        assert vae.decode(latents).sample.shape == (1, 3, 64, 64)


def test_a_vae_trained_on_takes_its_decoder_along(tmp_path, monkeypatch):
    """What the decoder's second pass learned is where the VAE's next training starts, at the VAE's own step."""
    for name in ("RECIPE", "DECODER_RECIPE"):
        monkeypatch.setattr(vae, name, replace(getattr(vae, name), batch_size=1))
    train_vae(tmp_path, Budget(steps=1), CPU, count=1, size=8)
    encoder = {k: v for k, v in ema_of(tmp_path, "vae").items() if k.startswith("encoder.")}
    train_decoder(tmp_path, Budget(steps=2), CPU, count=1, size=8)
    decoder = ema_of(tmp_path, "decoder")
    fold_decoder(tmp_path)
    merged = ema_of(tmp_path, "vae")
    assert not (tmp_path / "decoder").exists()
    assert all(torch.equal(merged[key], value) for key, value in (encoder | decoder).items())
    with safe_open(tmp_path / "vae" / "state.safetensors", "pt") as file:
        assert file.metadata()["step"] == "1"


def test_latents_belong_to_one_encoder(tmp_path):
    """Latents cached for one encoder are not taken for another's: a UNet on stale latents paints noise."""
    torch.manual_seed(0)
    first, second = new_vae(), new_vae()
    stale, fresh = latents_of(tmp_path, 0, first, size=4), latents_of(tmp_path, 0, second, size=4)
    assert torch.equal(stale, latents_of(tmp_path, 0, first, size=4))
    assert not torch.equal(stale, fresh)
