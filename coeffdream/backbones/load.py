"""Loading a base model. Whatever --base named, all becomes the same `Components`."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from coeffdream.backbones.base import Base
from coeffdream.backbones.fingerprint import architecture_of, sketch_of
from coeffdream.backbones.hub import why_unreachable
from coeffdream.errors import BaseModelError
from coeffdream.records.base import BaseRecord
from coeffdream.records.tensors import open_tensors

# By these names diffusers' pipeline has them, and `Components`.
PARTS = ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler")


@dataclass
class Components:
    """The parts of an SDXL-family model. The text encoders are None once they have been let go.

    The VAE is always float32: in float16 its activations overflow and images turn black.
    """

    base: Base
    unet: Any
    vae: Any
    text_encoder: Any
    text_encoder_2: Any
    tokenizer: Any
    tokenizer_2: Any
    scheduler: Any
    force_zeros_for_empty_prompt: bool
    device: torch.device
    architecture: str
    sketch: list[float]

    @cached_property
    def pipeline(self) -> Any:
        """diffusers' own pipeline over these parts."""
        from diffusers import StableDiffusionXLPipeline

        pipeline = StableDiffusionXLPipeline(
            **{name: getattr(self, name) for name in PARTS},
            force_zeros_for_empty_prompt=self.force_zeros_for_empty_prompt,
            add_watermarker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def text_encoders_to(self, device: torch.device) -> None:
        """Where the text encoders wait: `self.device` to encode, the CPU to leave its memory to the UNet."""
        for encoder in (self.text_encoder, self.text_encoder_2):
            if encoder is not None:
                encoder.to(device)
        if self.device.type == "cuda" and device.type == "cpu":
            torch.cuda.empty_cache()

    def release_text_encoders(self) -> None:
        """Give the text encoders' memory back; prompts must have been encoded by now."""
        self.pipeline.text_encoder = self.pipeline.text_encoder_2 = None
        self.text_encoder = self.text_encoder_2 = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def identity(self) -> BaseRecord:
        """What run.json and set.json say of the base."""
        return replace(self.base.record, architecture=self.architecture, sketch=self.sketch)


def load_components(
    base: Base, *, device: torch.device, dtype: torch.dtype, unet_device: torch.device | None = None
) -> Components:
    """Load every part of `base`; UNet and text encoders in `dtype`, the VAE in float32, all frozen.

    `unet_device`: where the UNet waits while photos and prompts are encoded; `device` when None.
    Raises BaseModelError when the weights are not there or are not SDXL's kind.
    """
    _check_files(base)
    pipeline = _load_pipeline(base, dtype)
    unet = pipeline.unet
    if getattr(unet.config, "addition_embed_type", None) != "text_time" or pipeline.text_encoder_2 is None:
        raise BaseModelError(
            f"--base {base.name} is not of the SDXL family (two text encoders, text_time conditioning)"
        )
    for part in (unet, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2):
        part.requires_grad_(False).eval().to((unet_device or device) if part is unet else device)
        _check_numbers(base, part)
    return Components(
        base=base,
        **{name: getattr(pipeline, name) for name in PARTS},
        force_zeros_for_empty_prompt=bool(pipeline.config.force_zeros_for_empty_prompt),
        device=device,
        architecture=architecture_of(unet),
        sketch=sketch_of(unet),
    )


def _check_files(base: Base) -> None:
    """Local weights, by their headers: a file that is cut short is named before anything is read."""
    source = Path(base.source)
    files = {"file": [source], "folder": sorted(source.glob("*/*.safetensors"))}.get(base.kind, [])
    for file in files:
        try:
            open_tensors(file)
        except (ValueError, OSError) as error:
            raise BaseModelError(
                f"--base {base.name} cannot be loaded as an SDXL model: {file} is not a readable safetensors file "
                f"({error}); copy it again"
            ) from None


@torch.no_grad()
def _check_numbers(base: Base, part: nn.Module) -> None:
    """Raises BaseModelError for weights that are not numbers: with them, everything drawn is black."""
    for name, weight in part.named_parameters():
        if weight.numel() and not all(math.isfinite(each) for each in torch.stack(weight.aminmax()).tolist()):
            raise BaseModelError(
                f"--base {base.name} holds weights that are not numbers ({type(part).__name__}: {name}, as "
                f"{str(weight.dtype).removeprefix('torch.')}); copy it again, or use --precision bf16 or fp32"
            )


def unet_config(base: Base) -> dict[str, Any]:
    """The configuration of the base's UNet. Needs no weights, and no network for sdxl."""
    from diffusers import UNet2DConditionModel

    if base.name == "sdxl" or base.kind == "file":
        return json.loads((Path(__file__).parent / "sdxl_unet.json").read_text())
    with _explained(base):
        if base.kind in ("toybox", "folder"):
            return json.loads((Path(base.source) / "unet" / "config.json").read_text())
        return UNet2DConditionModel.load_config(base.source, subfolder="unet")


def meta_unet(base: Base) -> nn.Module:
    """The base's UNet with shapes and no weights (meta device)."""
    from accelerate import init_empty_weights
    from diffusers import UNet2DConditionModel

    with init_empty_weights():
        return UNet2DConditionModel.from_config(unet_config(base))


def _load_pipeline(base: Base, dtype: torch.dtype) -> Any:
    from diffusers import AutoencoderKL, StableDiffusionXLPipeline

    with _explained(base), quiet():
        if base.kind == "file":
            vae = AutoencoderKL.from_single_file(base.source, torch_dtype=torch.float32)
            return StableDiffusionXLPipeline.from_single_file(base.source, vae=vae, torch_dtype=dtype)
        if base.kind == "hub" and dtype != torch.float32:
            # Half the download where the repository has half-precision files; most do.
            with contextlib.suppress(ValueError):
                return _from_pretrained(base.source, dtype, variant="fp16")
        return _from_pretrained(base.source, dtype)


def _from_pretrained(source: str, dtype: torch.dtype, **options: Any) -> Any:
    from diffusers import AutoencoderKL, StableDiffusionXLPipeline

    offline = not Path(source).exists() and why_unreachable() is not None
    options = {"use_safetensors": True, "local_files_only": offline, **options}
    vae = AutoencoderKL.from_pretrained(source, subfolder="vae", torch_dtype=torch.float32, **options)
    return StableDiffusionXLPipeline.from_pretrained(source, vae=vae, torch_dtype=dtype, **options)


@contextlib.contextmanager
def _explained(base: Base) -> Iterator[None]:
    """Turn what the libraries raise into one line that says what to do."""
    try:
        yield
    except BaseModelError:
        raise
    except Exception as error:  # the libraries raise a dozen kinds: OSError, ValueError, KeyError, hub errors
        first_line = next(iter(str(error).strip().splitlines()), "")[:200]
        detail = f"{type(error).__name__}: {first_line}"
        if base.kind != "hub":
            raise BaseModelError(
                f"--base {base.name} cannot be loaded as an SDXL model ({detail})"
            ) from error
        out_of_reach = why_unreachable()
        where = (
            f"are not in the hub cache, and {out_of_reach}" if out_of_reach else f"were not loaded ({detail})"
        )
        raise BaseModelError(
            f"the weights of {base.source} {where}. Without them: --base toybox (embedded, offline), or "
            "--base PATH with a diffusers folder or a .safetensors checkpoint"
        ) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Loading bars and advisory chatter of the libraries say nothing a user can act on."""
    from diffusers.utils import logging as diffusers_logging
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging, hub_logging)
    levels = [library.get_verbosity() for library in libraries]
    for library in libraries:
        library.set_verbosity(logging.ERROR)
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        for library, level in zip(libraries, levels, strict=True):
            library.set_verbosity(level)
