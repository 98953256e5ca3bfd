"""What a base is, told by its header or its configs before a tensor is read; what cannot be trained is named."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from coeffdream.errors import BaseModelError

Shapes = Mapping[str, tuple[int, ...]]

UNET_KEY = "model.diffusion_model."
VAE_KEYS = ("first_stage_model.", "vae.")
TEXT_KEYS = ("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model.")
V_PREDICTION, ZERO_SNR = "v_pred", "ztsnr"
GIVE_SDXL = "give an SDXL checkpoint, sdxl, or toybox"
WHOLE = "give a whole checkpoint, or a folder in diffusers' layout"

# Told by names that no other kind of file has; the first that fits.
TOLD_BY_KEYS = {
    r"lora_(A|B|up|down)\b|\.lora\.(up|down)\.|[._](hada|lokr|oft)_\w|dora_scale$|^lora_(unet|te)": (
        "is a LoRA or its like, which changes a base and is none; give the checkpoint it was trained on, and draw "
        "with the adapter by coeffdream generate --lora FILE"
    ),
    r"^(clip_l|clip_g|emb_params|string_to_param)$": f"is a textual-inversion embedding, not a base; {GIVE_SDXL}",
    r"^control_model\.|controlnet_cond_embedding\.|(^|\.)input_hint_block\.": (
        f"is a ControlNet, not a base; {GIVE_SDXL}"
    ),
    r"(^|\.)double_blocks\.\d": f"is FLUX, a diffusion transformer of another family; {GIVE_SDXL}",
    r"(^|\.)joint_blocks\.\d": f"is Stable Diffusion 3, a diffusion transformer of another family; {GIVE_SDXL}",
    r"^edm_(mean|std)$|^edm_vpred\.": (
        f"is trained on EDM's noise schedule, which DDPM's cannot express; {GIVE_SDXL}"
    ),
}
# Width of the text that a UNet's cross-attention reads.
TOLD_BY_WIDTH = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2"}
TOLD_BY_PIPELINE = {"StableDiffusion3": "Stable Diffusion 3", "Flux": "FLUX"}
REFINER = (
    f"is SDXL's refiner, which only finishes what the base has drawn (it reads one text encoder); {GIVE_SDXL}"
)
REFINER_WIDTH = 1280


@dataclass(frozen=True)
class Kind:
    """A base that can be used. said: what it is, for a person. v_prediction, zero_snr: that its header says so."""

    said: str
    v_prediction: bool = False
    zero_snr: bool = False

    def scheduler(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The config of a scheduler with what the header says over it."""
        said: dict[str, Any] = {"prediction_type": "v_prediction"} if self.v_prediction else {}
        if self.zero_snr:
            # Only trailing steps begin at the last one, which is pure noise (arXiv 2305.08891).
            said |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
        return {**config, **said}


def kind_of_file(name: str, shapes: Shapes, unet: Mapping[str, Any]) -> Kind:
    """Of a single file, from its header. unet: the UNet's config, which says the width and channels to expect.

    Raises BaseModelError that names what the file is instead.
    """
    for pattern, told in TOLD_BY_KEYS.items():
        if any(re.search(pattern, key) for key in shapes):
            raise BaseModelError(f"--base {name} {told}")
    prefix = next((each for each in (UNET_KEY, "") if f"{each}input_blocks.0.0.weight" in shapes), None)
    if prefix is None:
        raise BaseModelError(f"--base {name} {_without_unet(shapes)}")
    channels = shapes[f"{prefix}input_blocks.0.0.weight"][1]
    width = next((shape[1] for key, shape in shapes.items() if key.endswith("attn2.to_k.weight")), None)
    if other := _other_unet(unet, channels, width):
        raise BaseModelError(f"--base {name} {other}")
    lacking = [] if any(key.startswith(VAE_KEYS) for key in shapes) else ["a VAE"]
    if not all(any(key.startswith(each) for key in shapes) for each in TEXT_KEYS):
        lacking.append("its two text encoders")
    if not prefix or len(lacking) == 2:
        raise BaseModelError(
            f"--base {name} is the UNet of an SDXL model alone, without {_both(lacking)}; {WHOLE}"
        )
    if lacking:
        raise BaseModelError(f"--base {name} is an SDXL checkpoint without {_both(lacking)}; {WHOLE}")
    return Kind("SDXL in a single file", V_PREDICTION in shapes, ZERO_SNR in shapes)


def kind_of_folder(
    name: str, index: Mapping[str, Any], unet: Mapping[str, Any], latent_channels: int
) -> Kind:
    """Of a folder in diffusers' layout, from model_index.json, unet/config.json and the VAE's latent channels."""
    two = _has(index, "text_encoder_2")
    if two and not _has(index, "text_encoder"):
        raise BaseModelError(f"--base {name} {REFINER}")
    channels, width = unet.get("in_channels"), unet.get("cross_attention_dim")
    if channels != latent_channels:
        raise BaseModelError(f"--base {name} {_more_channels(channels, latent_channels)}")
    if unet.get("addition_embed_type") != "text_time" or not two:
        other = TOLD_BY_WIDTH.get(width) if isinstance(width, int) else None
        what = f"is {other}, which is" if other else "is"
        raise BaseModelError(
            f"--base {name} {what} not of the SDXL family (two text encoders, text_time conditioning); {GIVE_SDXL}"
        )
    return Kind("SDXL in diffusers' layout")


def transformer_pipeline(name: str, index: Mapping[str, Any]) -> BaseModelError:
    """The refusal of a folder whose model_index.json names a transformer in place of a UNet."""
    pipeline = str(index.get("_class_name", "a pipeline of its own"))
    called = next((each for start, each in TOLD_BY_PIPELINE.items() if pipeline.startswith(start)), pipeline)
    return BaseModelError(
        f"--base {name} is {called:.80}, a diffusion transformer of another family; {GIVE_SDXL}"
    )


def _has(index: Mapping[str, Any], part: str) -> bool:
    """Whether model_index.json names a class for a part; [null, null] stands for none."""
    named = index.get(part)
    return isinstance(named, list) and bool(named) and named[0] is not None


def _other_unet(unet: Mapping[str, Any], channels: int, width: int | None) -> str | None:
    if width == REFINER_WIDTH != unet["cross_attention_dim"]:
        return REFINER
    if width in TOLD_BY_WIDTH and width != unet["cross_attention_dim"]:
        inpainting = ", for inpainting" if channels == 9 else ""
        return f"is {TOLD_BY_WIDTH[width]}{inpainting}, not SDXL (its UNet reads text of width {width}); {GIVE_SDXL}"
    if width != unet["cross_attention_dim"]:
        return (
            f"is no SDXL model: its UNet reads text of width {width}, not {unet['cross_attention_dim']}; {GIVE_SDXL}, or "
            "name the configs of this one by --base-config FOLDER"
        )
    return _more_channels(channels, unet["in_channels"]) if channels != unet["in_channels"] else None


def _more_channels(channels: Any, expected: int) -> str:
    what = "an inpainting model" if channels == 2 * expected + 1 else "a model for editing pictures"
    return (
        f"is {what} (its UNet reads {channels} channels: a picture beside the {expected} of its latents); give the "
        "text-to-image model it was made from"
    )


def _without_unet(shapes: Shapes) -> str:
    if any(key.startswith(("down_blocks.", "unet.down_blocks.")) for key in shapes):
        return f"is a UNet alone, by diffusers' names, without text encoders and VAE; {WHOLE}"
    if any(re.match(r"((first_stage_model|vae)\.)?(encoder|decoder)\.conv_in\.", key) for key in shapes):
        return f"is a VAE alone; {WHOLE}"
    if shapes and all(key.endswith(".alpha") for key in shapes):
        return f"holds head-mixing coefficients, not a base; {GIVE_SDXL}"
    if any(re.search(r"(^|\.)(transformer_blocks|blocks|layers)\.\d", key) for key in shapes):
        return f"is a transformer, not SDXL's UNet (it holds {min(shapes):.60}); {GIVE_SDXL}"
    first = f"it holds {min(shapes):.60}" if shapes else "it holds nothing"
    return f"is no SDXL checkpoint ({first}); {GIVE_SDXL}"


def _both(names: list[str]) -> str:
    return " and ".join(names) or "the rest of the checkpoint"
