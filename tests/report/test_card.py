"""The model card: what it says, that it says no more than is known, and that the hub's own reader takes it."""

from __future__ import annotations

import dataclasses
import re

import pytest
from huggingface_hub import ModelCard

from coeffdream.errors import RunError
from coeffdream.records.base import BaseRecord
from coeffdream.records.images import SetFolder
from coeffdream.records.run import COEFF_FILE, LORA_FILE
from coeffdream.report.card import model_card

ADAPTER = {LORA_FILE: "cd" * 32}


@pytest.fixture
def files(tmp_path):
    """Adapter files of a run, as far as a card looks at them."""

    def made(*names: str):
        for name in names:
            (tmp_path / name).write_bytes(name.encode())
        return {name: tmp_path / name for name in names}

    return made


@pytest.fixture
def card_of(whole_run, files):
    """The card of a whole run, its record changed; both parts of the adapter go with it unless told otherwise."""

    def made(*names: str, licence: str | None = None, set_name: str | None = None, photos=None, **changes):
        record = dataclasses.replace(whole_run.read(), adapter=ADAPTER, **changes)
        given = files(*(names or (LORA_FILE, COEFF_FILE, "my.safetensors")))
        return model_card(
            whole_run, record, "me/my-cat", given, licence=licence, set_name=set_name, photos=photos
        )

    return made


SDXL = BaseRecord("sdxl", "hub", "stabilityai/stable-diffusion-xl-base-1.0", "a" * 64)


def test_what_the_hub_reads(card_of):
    """Base, trigger, tags and pictures stand in the header, by the hub's own parser; no licence that nobody stated."""
    data = ModelCard(card_of(base=SDXL).text).data
    assert data.base_model == "stabilityai/stable-diffusion-xl-base-1.0"
    assert data.base_model_relation == "adapter"
    assert data.instance_prompt == "a photo of sks cat"
    assert {"lora", "coeff-tuning", "stable-diffusion-xl"} <= set(data.tags)
    assert data.library_name == "diffusers"
    assert data.license is None
    assert [each["output"]["url"] for each in data.widget] == [f"pictures/{n}.png" for n in range(1, 5)]
    assert ModelCard(card_of(licence="apache-2.0").text).data.license == "apache-2.0"


def test_every_picture_it_shows_goes_with_it(card_of, whole_run):
    """As they were drawn; a picture that was altered since is not shown."""
    SetFolder(whole_run.images / "benchmark").contact_sheet.write_bytes(b"sheet")
    card = card_of()
    shown = set(re.findall(r'src="([^"]+)"', card.text))
    assert (
        shown == card.pictures.keys() == {*(f"pictures/{n}.png" for n in range(1, 5)), "pictures/sheet.jpg"}
    )
    assert all(path.is_file() for path in card.pictures.values())
    card.pictures["pictures/2.png"].write_bytes(b"another")
    assert len(card_of().pictures) == 4


def test_scores_with_floor_and_ceiling_and_their_label(card_of):
    """The record's own figures; those of embedded scorers say what they are."""
    text = card_of().text
    assert "Embedded scorers: not comparable with published numbers" in text
    assert "| | this run, n = 16 | untouched base, n = 16 | photos themselves, n = 3 |" in text
    assert re.search(r"\| Concept alignment \| 0\.744.* \| 0\.610 \| 0\.820 \|", text)
    assert "the floor" in text
    assert "64 % of the way" in text


def test_intervals_where_the_records_have_them(whole_study, files):
    """As compare prints them, with the words that say what they mean."""
    run = next(iter(sorted(path.parent for path in whole_study.path.rglob("run.json"))))
    from coeffdream.records.run import RunFolder

    folder = RunFolder(run)
    record = folder.read()
    made = SetFolder(folder.images / "benchmark").read_set()
    record = dataclasses.replace(record, adapter=made.settings.adapter)
    text = model_card(folder, record, "me/my-cat", files(LORA_FILE)).text
    assert re.search(r"\| Text alignment \| [\d.]+ \[[\d.]+, [\d.]+\] \|", text)
    assert "95 % interval" in text


def test_how_to_load_it_depends_on_what_it_is(card_of):
    """Alpha needs coeffdream or its node, and the card says so; a plain LoRA needs neither."""
    both = card_of(base=SDXL).text
    assert 'coeffdream.load(pipe, "hub:me/my-cat")' in both
    assert "no LoRA file can hold" in both
    assert "integrations/comfyui/coeffdream_alpha.py" in both
    assert "Copy `my.safetensors` to `ComfyUI/models/loras`" in both
    plain = card_of(LORA_FILE, "my.safetensors", base=SDXL, method="lora").text
    assert 'pipe.load_lora_weights("me/my-cat", weight_name="pytorch_lora_weights.safetensors")' in plain
    assert "alpha" not in plain
    alone = card_of(COEFF_FILE, base=SDXL, method="coeff").text
    assert "load_lora_weights" not in alone
    assert "Load LoRA" not in alone
    assert 'coeffdream.load(pipe, "hub:me/my-cat")' in alone


@pytest.mark.parametrize(
    "base",
    [
        SDXL,
        BaseRecord("toybox", "toybox", "embedded"),
        BaseRecord("/home/x/m.safetensors", "file", "/home/x/m.safetensors"),
    ],
    ids=["hub", "toybox", "file"],
)
@pytest.mark.parametrize("method", ["lora", "dora", "coeff", "coeff-lora", "coeff-dora"])
def test_every_kind_of_run_has_a_whole_card(card_of, base, method):
    """No hole of the template shows, its Python compiles, and a folder of this machine is not named."""
    names = [LORA_FILE, "my.safetensors"] if method != "coeff" else []
    names += [COEFF_FILE] if method.startswith("coeff") else []
    text = card_of(*names, base=base, method=method).text
    for hole in ("None", "{{", "{%", "undefined", "/home/x", "\n\n\n\n"):
        assert hole not in text, hole
    [block] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    compile(block, "card", "exec")


def test_a_run_that_drew_nothing(builder, files):
    """Says that it was not scored, and shows nothing."""
    record = dataclasses.replace(builder.trained().folder.read(), adapter=ADAPTER)
    card = model_card(builder.folder, record, "me/my-cat", files(LORA_FILE))
    assert (card.pictures, card.scores) == ({}, None)
    assert "It has not been scored." in card.text
    assert "src=" not in card.text


def test_pictures_of_another_adapter_do_not_speak_for_it(whole_run, files):
    """Nor do those that were drawn with a style LoRA on top: its hash is among the set's."""
    record = dataclasses.replace(whole_run.read(), adapter={LORA_FILE: "ab" * 32})
    assert model_card(whole_run, record, "me/my-cat", files(LORA_FILE)).pictures == {}
    with pytest.raises(RunError, match="--set benchmark does not show what"):
        model_card(whole_run, record, "me/my-cat", files(LORA_FILE), set_name="benchmark")


def test_photos_are_shown_only_when_they_go_along(card_of, tmp_path):
    assert "photos/" not in card_of().text
    text = card_of(photos={"photos/0.png": tmp_path / "0.png"}).text
    assert '<img src="photos/0.png"' in text
