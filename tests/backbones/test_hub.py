"""Bases on the hub: what is in its cache is used, what is not is fetched and no more, and a refusal says its cause."""

from __future__ import annotations

import shutil
import types
from pathlib import Path

import httpx2
import huggingface_hub
import pytest
import torch
from huggingface_hub import constants, errors
from rich.filesize import decimal
from safetensors.torch import load_file, save_file

from coeffdream.backbones import hub
from coeffdream.backbones.base import find_base
from coeffdream.backbones.load import load_components, meta_unet
from coeffdream.backbones.source import bring, look_at
from coeffdream.backbones.variants import STEMS
from coeffdream.cli.doctor import examine
from coeffdream.errors import BaseModelError

CPU = torch.device("cpu")
NAME, COMMIT = "owner/model", "0123456789abcdef0123456789abcdef01234567"
PLACE = "models--owner--model"


class Hub:
    """A repository as its client shows it. `files`: name -> where its bytes are; `asked`: what was fetched."""

    def __init__(self, cache: Path) -> None:
        self.cache, self.files, self.asked = cache, {}, []
        self.refusal: Exception | None = None
        self.revisions: set[str | None] = set()

    def holds(self, folder: Path, variant: str = "") -> None:
        """The parts of a folder; `variant` goes into the names of the weights."""
        for file in folder.rglob("*.*"):
            name = str(file.relative_to(folder))
            if file.suffix == ".safetensors" and variant:
                name = name.removesuffix("safetensors") + f"{variant}.safetensors"
            self.files[name] = file

    def model_info(self, api, repository, *, revision=None, files_metadata=False):
        assert files_metadata
        if self.refusal:
            raise self.refusal
        siblings = [
            types.SimpleNamespace(rfilename=name, size=file.stat().st_size)
            for name, file in self.files.items()
        ]
        self.revisions.add(revision)
        return types.SimpleNamespace(sha=COMMIT, siblings=siblings)

    def snapshot_download(self, repository, *, revision=None, allow_patterns=None, local_files_only=False):
        place = self.cache / PLACE
        if local_files_only:
            return huggingface_snapshot(
                repository, revision=revision, allow_patterns=allow_patterns, local_files_only=True
            )
        for name in allow_patterns:
            target = place / "snapshots" / COMMIT / name
            if not target.exists():
                self.asked.append(name)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.files[name], target)
        assert revision != COMMIT  # the client would note no ref, and the cache not be found by name
        (place / "refs").mkdir(exist_ok=True)
        (place / "refs" / (revision or "main")).write_text(COMMIT)
        return str(place / "snapshots" / COMMIT)

    @property
    def weights_asked(self) -> set[str]:
        return {name for name in self.asked if name.endswith(".safetensors")}


huggingface_snapshot = huggingface_hub.snapshot_download


@pytest.fixture
def the_hub(tmp_path, monkeypatch) -> Hub:
    made = Hub(tmp_path / "hub")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(made.cache))
    monkeypatch.setattr(hub, "why_unreachable", lambda: None)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", made.snapshot_download)
    monkeypatch.setattr(
        huggingface_hub.HfApi,
        "model_info",
        lambda api, *given, **named: made.model_info(api, *given, **named),
    )
    return made


@pytest.fixture
def halved(tiny_base, tmp_path) -> Path:
    """The miniature's weights in float16."""
    folder = Path(shutil.copytree(tiny_base, tmp_path / "halved"))
    for file in folder.rglob("*.safetensors"):
        save_file({name: tensor.half() for name, tensor in load_file(file).items()}, file, {"format": "pt"})
    return folder


def offline(monkeypatch) -> None:
    monkeypatch.setattr(hub, "why_unreachable", lambda: "HF_HUB_OFFLINE forbids fetching them")


def test_a_repository_without_float16_files(the_hub, tiny_base, components):
    """bfloat16 on a card: half the download was hoped for, and nothing loaded at all where it is not offered."""
    the_hub.holds(tiny_base)
    loaded = load_components(find_base(NAME), device=CPU, dtype=torch.bfloat16)
    assert loaded.unet.dtype == torch.bfloat16
    assert loaded.architecture == components.architecture
    assert the_hub.weights_asked == {f"{part}/{stem}.safetensors" for part, stem in STEMS.items()}


def test_half_the_bytes_for_half_the_precision(the_hub, tiny_base, halved):
    """No file of the other precision is fetched, nor anything that is not read; the VAE is kept in float32."""
    the_hub.holds(tiny_base)
    the_hub.holds(halved, "fp16")
    the_hub.files |= {"sd_xl.safetensors": the_hub.files["model_index.json"], "README.md": Path(__file__)}
    heard: list[str] = []
    bring(find_base(NAME), torch.float16, heard.append)
    fp16 = {f"{part}/{stem}.fp16.safetensors" for part, stem in STEMS.items() if part != "vae"}
    assert the_hub.weights_asked == {*fp16, "vae/diffusion_pytorch_model.safetensors"}
    assert "README.md" not in the_hub.asked
    [line] = heard
    assert line.startswith(f"fetching {NAME}: ")
    assert f" in 4 files, into {the_hub.cache} (" in line
    assert line.endswith(" free)")


def test_what_is_in_the_cache_is_taken_in_any_precision(the_hub, halved, monkeypatch):
    """Trained in bfloat16 yesterday; exported in float32 today, on a train."""
    the_hub.holds(halved, "fp16")
    bring(find_base(NAME), torch.bfloat16)
    offline(monkeypatch)
    loaded = load_components(find_base(NAME), device=CPU, dtype=torch.float32)
    assert loaded.unet.dtype == torch.float32


def test_a_revision_is_its_own(the_hub, tiny_base, monkeypatch):
    """Asked for, found again in the cache under its name, and recorded."""
    the_hub.holds(tiny_base)
    base = find_base(NAME, revision="v2")
    bring(base, torch.float32)
    assert "v2" in the_hub.revisions
    offline(monkeypatch)
    assert bring(base, torch.float32).base.record.revision == "v2"
    with pytest.raises(BaseModelError, match="are not in the hub's cache"):
        bring(find_base(NAME, revision="v3"), torch.float32)


def test_shapes_fetch_no_weights(the_hub, tiny_base):
    """--dry-run and params."""
    the_hub.holds(tiny_base)
    meta_unet(find_base(NAME))
    assert the_hub.asked
    assert not the_hub.weights_asked


def test_a_disk_without_room_is_met_before(the_hub, tiny_base, monkeypatch):
    """Not after an hour."""
    the_hub.holds(tiny_base)
    monkeypatch.setattr(hub, "free_disk", lambda: 1000)
    heard: list[str] = []
    with pytest.raises(BaseModelError, match=r"needs .* more in .*, where 1.0 kB are free; make room"):
        bring(find_base(NAME), torch.float32, heard.append)
    assert heard
    assert not the_hub.weights_asked


def test_a_repository_of_pickles(the_hub, tiny_base):
    """Never fetched either."""
    the_hub.holds(tiny_base)
    pickled = {name for name in the_hub.files if name.endswith(".safetensors")}
    for name in pickled:
        the_hub.files[name.replace(".safetensors", ".bin")] = the_hub.files.pop(name)
    with pytest.raises(
        BaseModelError, match=r"pickled \(unet/.*\.bin\), and pickled weights are never opened"
    ):
        bring(find_base(NAME), torch.float32)
    assert not any(name.endswith(".bin") for name in the_hub.asked)


def test_a_repository_of_single_files(the_hub, tiny_base):
    """Most fine-tunes: the file itself is a base."""
    the_hub.files["model.safetensors"] = tiny_base / "model_index.json"
    with pytest.raises(BaseModelError, match=r"has no model_index.json, .*hf download owner/model FILE"):
        bring(find_base(NAME), torch.float32)


def test_what_it_is_is_told_before_its_weights_are_fetched(the_hub, tiny_base, tmp_path):
    """A refiner of six gigabytes."""
    folder = Path(shutil.copytree(tiny_base, tmp_path / "refiner"))
    index = folder / "model_index.json"
    index.write_text(
        index.read_text()
        .replace('"CLIPTextModel"', "null")
        .replace('"transformers",\n    null', "null, null")
    )
    the_hub.holds(folder)
    with pytest.raises(BaseModelError, match="is SDXL's refiner"):
        bring(find_base(NAME), torch.float32)
    assert not the_hub.weights_asked


def refused(kind: type, status: int) -> Exception:
    request = httpx2.Request("GET", "https://huggingface.co/api/models/owner/model")
    return kind("said so", response=httpx2.Response(status, request=request))


REFUSALS = {
    errors.RepositoryNotFoundError: (
        401,
        "is not on the hub, or is private; correct the name, or hf auth login",
    ),
    errors.GatedRepoError: (403, "asks to accept its terms first (https://huggingface.co/owner/model)"),
    errors.RevisionNotFoundError: (404, "has no revision v9; leave --revision out, or correct it"),
    errors.HfHubHTTPError: (500, "was not fetched (HfHubHTTPError: said so). Without it: --base toybox"),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_refusal_says_its_cause(the_hub, kind):
    """Not that the hub cannot be reached."""
    status, told = REFUSALS[kind]
    the_hub.refusal = refused(kind, status)
    with pytest.raises(BaseModelError) as caught:
        look_at(find_base(NAME, revision="v9"))
    assert str(caught.value).startswith(f"{NAME} {told}")
    assert "\n" not in str(caught.value)


def test_a_download_that_breaks_off(the_hub, tiny_base, monkeypatch):
    """A full disk, met later after all."""
    the_hub.holds(tiny_base)
    monkeypatch.setattr(
        huggingface_hub,
        "snapshot_download",
        lambda *given, local_files_only=False, **named: (_ for _ in ()).throw(
            OSError(28, "No space left on device")
        ),
    )
    with pytest.raises(BaseModelError, match=r"was not fetched \(OSError: \[Errno 28\] No space left"):
        bring(find_base(NAME), torch.float32)


def test_doctor_counts_what_would_be_fetched(the_hub, tiny_base, halved, monkeypatch):
    """In the precision of this machine, less what is in the cache."""
    monkeypatch.setattr("coeffdream.backbones.base.SDXL_ID", NAME)
    the_hub.holds(tiny_base)
    the_hub.holds(halved, "fp16")
    before = examine()["bases"]["base sdxl"]
    assert not before["here"]
    plain = [name for name in the_hub.files if ".fp16." not in name and name != "coeffdream.json"]
    size = sum(the_hub.files[name].stat().st_size for name in plain)
    assert before["note"].startswith(
        f"{decimal(size)} in {len(plain)} files, fetched at the first train into "
    )
    bring(find_base(NAME), torch.float32)
    after = examine()["bases"]["base sdxl"]
    assert (after["here"], after["note"]) == (True, str(the_hub.cache / PLACE / "snapshots" / COMMIT))
    shutil.rmtree(the_hub.cache / PLACE / "snapshots" / COMMIT / "vae")
    assert not examine()["bases"]["base sdxl"]["here"]  # half a snapshot is none


def test_doctor_without_the_hub(the_hub, monkeypatch):
    """Says that it does not know, and why."""
    offline(monkeypatch)
    assert "HF_HUB_OFFLINE" in examine()["bases"]["base sdxl"]["note"]
