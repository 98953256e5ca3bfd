"""The miniature's UNet, inputs for it, and an adapter with something learned in it."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from coeffdream.adapters.files import load_adapter, save_adapter
from coeffdream.adapters.install import install, spec_for
from coeffdream.backbones.fingerprint import architecture_of
from coeffdream.config import TrainConfig
from coeffdream.errors import AdapterError
from coeffdream.records.files import sha256_of_file
from coeffdream.records.run import COEFF_FILE, LORA_FILE
from coeffdream.records.tensors import DIGEST, write_tensors


@pytest.fixture(scope="session")
def loaded_unet(tiny_base):
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel.from_pretrained(tiny_base / "unet").requires_grad_(False).eval()


@pytest.fixture
def unet(loaded_unet):
    """A copy of its own: four self- and four cross-attention layers of 4 heads."""
    return copy.deepcopy(loaded_unet)


@pytest.fixture
def predict():
    """One forward pass on fixed inputs of the UNet's dtype; B = 2, 4 x 4 positions in every attention."""

    def call(unet, **more) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        shapes = {"sample": (2, 4, 8, 8), "encoder_hidden_states": (2, 77, 32), "text_embeds": (2, 16)}
        drawn = {
            name: torch.randn(shape, generator=generator).to(unet.dtype) for name, shape in shapes.items()
        }
        added = {
            "text_embeds": drawn.pop("text_embeds"),
            "time_ids": torch.tensor([[32.0, 32, 0, 0, 32, 32]] * 2).to(unet.dtype),
        }
        return unet(**drawn, timestep=torch.tensor([1, 500]), added_cond_kwargs=added, **more).sample

    return call


@pytest.fixture
def teach():
    """Move every trainable parameter of an adapter away from where it started, the same way each time."""

    def call(adapter, size: float = 0.3):
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in adapter.trainable.values():
                parameter += size * torch.randn(parameter.shape, generator=generator)
        return adapter

    return call


@pytest.fixture(scope="session")
def architecture(loaded_unet) -> str:
    return architecture_of(loaded_unet)


@pytest.fixture
def saved(loaded_unet, teach, tmp_path, architecture):
    """Train (so to speak) a method and save it; the folder."""

    def call(method: str, name: str = "adapter", size: float = 0.3, **options) -> Path:
        unet = copy.deepcopy(loaded_unet)
        adapter = teach(install(unet, spec_for(TrainConfig(method=method, **options), unet)), size)
        save_adapter(adapter, tmp_path / name, architecture)
        return tmp_path / name

    return call


@pytest.fixture
def read_file():
    """The tensors and the metadata of an adapter's file."""
    return read


@pytest.fixture
def rewrite():
    """The file again, altered by functions of its tensors and its metadata, with a digest that fits."""

    def call(file: Path, *, tensors=None, metadata=None) -> None:
        before, meta = read(file)
        for change, value in ((tensors, before), (metadata, meta)):
            if change:
                change(value)
        meta.pop(DIGEST, None)
        write_tensors(file, {name: tensor.numpy() for name, tensor in before.items()}, meta)

    return call


@pytest.fixture
def older():
    """A folder as a coeffdream without digests wrote it: metadata of that time, with more of PEFT's fields, in an
    order of chance."""

    def call(folder: Path) -> Path:
        for name in (LORA_FILE, COEFF_FILE):
            if not (folder / name).is_file():
                continue
            tensors, meta = read(folder / name)
            del meta[DIGEST]
            meta["coeffdream.format"] = "1"
            if fields := meta.get("lora_adapter_metadata"):
                more = {"unet.peft_type": "LORA", "unet.bias": "none", **json.loads(fields)}
                meta["lora_adapter_metadata"] = json.dumps(more)
            if meta.get("coeffdream.companion_sha256"):
                meta["coeffdream.companion_sha256"] = sha256_of_file(folder / LORA_FILE)
            save_file(tensors, folder / name, meta)
        return folder

    return call


@pytest.fixture
def refuse(unet, predict, architecture):
    """Loading must fail in one line that holds all of `said`, and leave the UNet as it was."""

    def call(folder: Path, *said: str, of: str = architecture) -> None:
        state = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
        wanted = {name: parameter.requires_grad for name, parameter in unet.named_parameters()}
        processors = dict(unet.attn_processors)
        with torch.no_grad():
            output = predict(unet)
        with pytest.raises(AdapterError) as caught:
            load_adapter(unet, folder, of)
        message = str(caught.value)
        assert "\n" not in message
        for part in said:
            assert part in message
        assert list(unet.state_dict()) == list(state)
        assert all(torch.equal(tensor, state[name]) for name, tensor in unet.state_dict().items())
        assert {name: p.requires_grad for name, p in unet.named_parameters()} == wanted
        assert all(unet.attn_processors[name] is processor for name, processor in processors.items())
        assert not getattr(unet, "peft_config", None)
        with torch.no_grad():
            assert torch.equal(predict(unet), output)

    return call


def read(file: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with safe_open(file, "pt") as opened:
        return load_file(file), dict(opened.metadata())
