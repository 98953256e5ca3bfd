"""What an adapter file says of itself: the keys that ComfyUI, A1111, Forge and model managers look for."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

THUMBNAIL_SIDE = 256


@dataclass(frozen=True)
class About:
    """What is worth saying about an adapter, beside its tensors.

    mixed_layers: attention layers whose head mixing is part of what was trained and cannot be in the file.
    prediction: the scheduler's prediction_type; zero_snr: whether its last step is pure noise.
    """

    name: str
    method: str
    base: str
    class_noun: str
    token: str
    resolution: int
    mixed_layers: int = 0
    prediction: str = "epsilon"
    zero_snr: bool = False
    thumbnail: Path | None = None
    note: str = ""
    approximated: str = ""  # how nearly alpha is in the file after all

    @property
    def what_is_lost(self) -> str:
        """The sentence that tells of the coefficients a LoRA file has no room for; empty when it lacks nothing."""
        if not self.mixed_layers or self.approximated:
            return self.approximated
        return (
            f"without alpha: this run also mixes the heads of {self.mixed_layers} attention layers, which no LoRA file "
            "can hold; coeff_weights.safetensors has them, for coeffdream and its ComfyUI node"
        )


def kohya_metadata(about: About, tensors: Mapping[str, Tensor], rank: int) -> dict[str, str]:
    """All values are strings, as safetensors wants them. A1111 takes a file for SD 1 unless
    ss_base_model_version begins with sdxl_. No date: equal runs are equal bytes."""
    lost = " ".join(part for part in (about.what_is_lost, about.note) if part)
    said = {
        "format": "pt",
        "ss_base_model_version": "sdxl_base_v1-0",
        "ss_sd_model_name": about.base,
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(rank),
        "ss_output_name": about.name,
        "ss_v2": "False",
        "ss_zero_terminal_snr": str(about.zero_snr),
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "stable-diffusion-xl-v1-base/lora",
        "modelspec.implementation": "https://github.com/Stability-AI/generative-models",
        "modelspec.title": about.name,
        "modelspec.resolution": f"{about.resolution}x{about.resolution}",
        "modelspec.trigger_phrase": f"{about.token} {about.class_noun}",
        "modelspec.prediction_type": "v" if about.prediction == "v_prediction" else about.prediction,
        "modelspec.usage_hint": f"say {about.token!r} before the class noun: a photo of {about.token} {about.class_noun}",
        "coeffdream.method": about.method,
        "coeffdream.alpha": about.approximated
        or (f"missing: {about.mixed_layers} layers" if about.mixed_layers else "none trained"),
    }
    if lost:
        said["modelspec.description"] = said["ss_training_comment"] = lost
    if about.thumbnail is not None:
        said["modelspec.thumbnail"] = _data_url(about.thumbnail)
    digest = tensors_sha256(tensors)
    return {**said, "sshs_model_hash": digest, "modelspec.hash_sha256": f"0x{digest}"}


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """sha256 of everything behind a safetensors file's header: the same for files that differ in metadata."""
    from safetensors.torch import save

    written = save(dict(tensors))
    return hashlib.sha256(written[8 + int.from_bytes(written[:8], "little") :]).hexdigest()


def _data_url(picture: Path) -> str:
    from PIL import Image

    with Image.open(picture) as opened:
        small = opened.convert("RGB")
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
