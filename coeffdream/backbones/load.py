"""Loading a base model. Whatever --base named, all becomes the same `Components`."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from coeffdream.backbones.base import Base
from coeffdream.backbones.clip_tokenizers import clip_tokenizer
from coeffdream.backbones.fingerprint import architecture_of, sketch_of
from coeffdream.backbones.frozen import check_form, freeze_linears
from coeffdream.backbones.kind import UNET_KEY
from coeffdream.backbones.quiet import quiet
from coeffdream.backbones.source import TOKENIZERS, Source, bring, look_at
from coeffdream.backbones.variants import STEMS, dtype_of
from coeffdream.config import BasePrecision, Offload
from coeffdream.errors import BaseModelError
from coeffdream.records.base import BaseRecord
from coeffdream.records.tensors import open_tensors

# By these names diffusers' pipeline has them, and `Components`.
PARTS = (*STEMS, *TOKENIZERS, "scheduler")
TEXT_ENCODERS = ("text_encoder", "text_encoder_2")
ALIGNED = 64  # bytes: where torch's own allocator puts every tensor


@dataclass
class Components:
    """The parts of an SDXL-family model. The text encoders are None once they have been let go.

    The VAE is always float32: in float16 its activations overflow and images turn black. architecture, sketch,
    parameters: of the UNet as its files have it. base_precision: a key of `frozen.FORMS`. offload, vae_tiling: see
    `placement`.
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
    parameters: int
    base_precision: BasePrecision = "auto"
    offload: Offload = "none"
    vae_tiling: bool = False

    @cached_property
    def pipeline(self) -> Any:
        """diffusers' own pipeline over these parts."""
        from diffusers import StableDiffusionXLPipeline

        device = self.device

        class Pipeline(StableDiffusionXLPipeline):
            @property
            def _execution_device(self) -> torch.device:
                return device  # and not where the VAE happens to wait

        pipeline = Pipeline(
            **{name: getattr(self, name) for name in PARTS},
            force_zeros_for_empty_prompt=self.force_zeros_for_empty_prompt,
            add_watermarker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    @contextlib.contextmanager
    def at_work(self, *parts: str) -> Iterator[None]:
        """In the block `parts` are on the device, and under off-loading no other is; after it all are where they
        were."""
        others = [part for part in STEMS if part not in parts] if self.offload != "none" else []
        homes = {part: home for part in (*others, *parts) if (home := self._device_of(part))}
        try:
            self.move(others, torch.device("cpu"))
            self.move(parts, self.device)
            yield
        finally:
            for part, home in reversed(homes.items()):
                self.move([part], home)

    def move(self, parts: Iterable[str], device: torch.device) -> None:
        """Put parts elsewhere; those that were let go are nowhere."""
        moved = [part for part in parts if self._device_of(part) not in (device, None)]
        for part in moved:
            getattr(self, part).to(device)
        if moved and self.device.type == "cuda" and device.type == "cpu":
            torch.cuda.empty_cache()

    def _device_of(self, part: str) -> torch.device | None:
        module = getattr(self, part)
        return None if module is None else next(module.parameters()).device

    def text_encoders_to(self, device: torch.device) -> None:
        """Where the text encoders wait: `self.device` to encode, the CPU to leave its memory to the UNet."""
        self.move(TEXT_ENCODERS, device)

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
    base: Base,
    *,
    device: torch.device,
    dtype: torch.dtype,
    unet_device: torch.device | None = None,
    base_precision: BasePrecision = "auto",
) -> Components:
    """Load every part of `base`; UNet and text encoders in `dtype`, the VAE in float32, all frozen.

    `unet_device`: where the UNet waits while photos and prompts are encoded; `device` when None.
    `base_precision`: of the weights of the UNet's blocks. Raises BaseModelError when the weights are not there or are
    not SDXL's kind, ConfigError when the device or the machine lacks what a base precision wants.
    """
    check_form(base_precision, device)
    source = bring(base, dtype)
    with _explained(base), quiet():
        parts = _from_file(source, dtype) if base.kind == "file" else _from_folder(source, dtype)
    unet = parts["unet"]
    for name in STEMS:
        part = parts[name]
        part.requires_grad_(False).eval().to((unet_device or device) if part is unet else device)
        _own(part)
        _check_numbers(base, part)
    components = Components(
        base=source.base,
        **parts,
        force_zeros_for_empty_prompt=source.force_zeros,
        device=device,
        architecture=architecture_of(unet),
        sketch=sketch_of(unet),
        parameters=sum(parameter.numel() for parameter in unet.parameters()),
        base_precision=base_precision,
    )
    freeze_linears(unet, base_precision, device)
    return components


@torch.no_grad()
def _own(part: nn.Module) -> None:
    """Weights that lie where a file has them, into memory of their own.

    Where that is odd, some products add up in another order: one base would draw differently from two files.
    """
    for weight in part.parameters():
        if weight.device.type == "cpu" and weight.data_ptr() % ALIGNED:
            weight.data = weight.data.clone()


@torch.no_grad()
def _check_numbers(base: Base, part: nn.Module) -> None:
    """Raises BaseModelError for weights that are not numbers: with them, everything drawn is black."""
    for name, weight in part.named_parameters():
        if weight.numel() and not all(math.isfinite(each) for each in torch.stack(weight.aminmax()).tolist()):
            raise BaseModelError(
                f"--base {base.name} holds weights that are not numbers ({type(part).__name__}: {name}, as "
                f"{str(weight.dtype).removeprefix('torch.')}); copy it again"
                + (", or use --precision bf16 or fp32" if weight.dtype == torch.float16 else "")
            )


def meta_unet(base: Base) -> nn.Module:
    """The base's UNet with shapes and no weights (meta device)."""
    from accelerate import init_empty_weights
    from diffusers import UNet2DConditionModel

    config = look_at(base).config_of("unet")
    with _explained(base), init_empty_weights():
        return UNet2DConditionModel.from_config(config)


def meta_parts(base: Base, dtype: torch.dtype) -> dict[str, nn.Module]:
    """UNet, VAE and text encoders in the dtypes of `load_components`, with shapes and no weights (meta device)."""
    from accelerate import init_empty_weights
    from diffusers import AutoencoderKL
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    source = look_at(base)
    with _explained(base), quiet(), init_empty_weights():
        encoders = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}
        parts: dict[str, nn.Module] = {
            "vae": AutoencoderKL.from_config(source.config_of("vae")),
            **{
                part: made(CLIPTextConfig.from_dict(source.config_of(part)))
                for part, made in encoders.items()
            },
        }
    parts["unet"] = meta_unet(base)
    with quiet():  # which also says that casting may lose what no shape has
        for name, part in parts.items():
            part.to(dtype_of(name, dtype)).requires_grad_(False).eval()
    return parts


def _from_file(source: Source, dtype: torch.dtype) -> dict[str, Any]:
    """Every part, from one checkpoint under its original names, configured by the files in source.folder."""
    from diffusers import AutoencoderKL, StableDiffusionXLPipeline

    file, here = source.base.source, {"config": str(source.folder), "local_files_only": True}
    try:
        pipeline = StableDiffusionXLPipeline.from_single_file(
            file,
            vae=AutoencoderKL.from_single_file(file, subfolder="vae", torch_dtype=torch.float32, **here),
            scheduler=source.scheduler,
            **{name: _tokenizer(source, name) for name in TOKENIZERS},
            torch_dtype=dtype,
            add_watermarker=False,
            **here,
        )
    except NotImplementedError:  # torch's, of moving a tensor without values: one that the file did not fill
        held = sum(key.startswith(UNET_KEY) for key in open_tensors(Path(file)).entries)
        raise BaseModelError(
            f"--base {source.base.name} lacks weights that SDXL has (its UNet holds {held:,} tensors of "
            f"{len(meta_unet(source.base).state_dict()):,}); copy it again, or name the configs of a smaller relative "
            "by --base-config FOLDER"
        ) from None
    return {name: getattr(pipeline, name) for name in PARTS}


def _from_folder(source: Source, dtype: torch.dtype) -> dict[str, Any]:
    """Every part, each from its own folder, in the variant that is there."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    classes: dict[str, Any] = {
        "unet": UNet2DConditionModel,
        "vae": AutoencoderKL,
        "text_encoder": CLIPTextModel,
        "text_encoder_2": CLIPTextModelWithProjection,
    }
    parts: dict[str, Any] = {
        part: classes[part].from_pretrained(
            source.folder,
            subfolder=part,
            variant=variant or None,
            use_safetensors=True,
            local_files_only=True,
            **{"dtype" if part in TEXT_ENCODERS else "torch_dtype": dtype_of(part, dtype)},
        )
        for part, (variant, _) in source.weights(dtype).items()
    }
    parts |= {name: _tokenizer(source, name) for name in TOKENIZERS}
    return parts | {"scheduler": source.scheduler}


def _tokenizer(source: Source, part: str) -> Any:
    from transformers import CLIPTokenizer

    if source.base.kind == "file" and not (source.folder / part).is_dir():
        return clip_tokenizer(part)
    # transformers makes a tokenizer without a vocabulary of a folder that holds none, and says nothing.
    if not any((source.folder / part / name).is_file() for name in ("vocab.json", "tokenizer.json")):
        raise FileNotFoundError(f"{source.folder / part} holds no vocabulary")
    return CLIPTokenizer.from_pretrained(source.folder, subfolder=part, local_files_only=True)


@contextlib.contextmanager
def _explained(base: Base) -> Iterator[None]:
    """Turn what the libraries raise into one line that says what to do."""
    try:
        yield
    except BaseModelError:
        raise
    except Exception as error:  # the libraries raise a dozen kinds: OSError, ValueError, KeyError, hub errors
        first_line = next(iter(str(error).strip().splitlines()), "")[:200]
        raise BaseModelError(
            f"--base {base.name} cannot be loaded as an SDXL model ({type(error).__name__}: {first_line})"
        ) from error
