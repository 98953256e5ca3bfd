"""CLIP through open_clip: pictures and texts in one space."""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict
from open_clip.transformer import QuickGELU

from coeffdream.errors import ScoreError
from coeffdream.metrics.encoder import Features, versions
from coeffdream.metrics.weights import hub_files, local_file
from coeffdream.records.encoders import EncoderRecord
from coeffdream.records.files import sha256_of_file, sha256_of_json

if TYPE_CHECKING:
    from PIL.Image import Image

CLIP_MODEL = "ViT-B-32-quickgelu"
CLIP_PRETRAINED = "openai"
LOCAL = "local-dir:"
CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
_INSTEAD = "give local files: --clip-model local-dir:FOLDER, or --clip-pretrained FILE.safetensors"


@dataclass(frozen=True)
class _Source:
    """Where a CLIP comes from. `quick_gelu` is True where the weights were trained with QuickGELU."""

    model: str
    pretrained: str
    config: dict[str, Any]
    preprocess: dict[str, Any]
    weights: Path
    quick_gelu: bool


class ClipEncoder:
    """An open_clip model.

    model: a name known to open_clip, or "local-dir:FOLDER" with open_clip_config.json and
    open_clip_model.safetensors. pretrained: open_clip's tag or a .safetensors file; not read for a
    local-dir.

    Raises ScoreError when the weights cannot be had, do not fit, or when QuickGELU weights would run
    in a GELU model: open_clip only warns of that, and every score would be off.
    """

    def __init__(
        self, model: str = CLIP_MODEL, pretrained: str = CLIP_PRETRAINED, *, device: str = "cpu"
    ) -> None:
        self._source = source = _local(model) if model.startswith(LOCAL) else _named(model, pretrained)
        self._device = torch.device(device)
        size = source.config["vision_cfg"].get("image_size", 224)
        self._preprocess = PreprocessCfg(**(source.preprocess | {"size": size}))
        self._transform = image_transform_v2(self._preprocess, is_train=False)
        self.name = f"CLIP {source.model}"
        self.width: int = source.config["embed_dim"]
        self.context_length: int = source.config["text_cfg"].get("context_length", 77)

    def describe(self) -> EncoderRecord:
        return EncoderRecord(
            name=self.name,
            model=self._source.model,
            pretrained=self._source.pretrained,
            weights_sha256=self._weights_sha256,
            config_sha256=sha256_of_json(self._source.config),
            preprocessing=asdict(self._preprocess) | {"antialias": True},
            width=self.width,
            context_length=self.context_length,
            versions=versions("open_clip_torch", "torch", "torchvision", "pillow"),
        )

    def images(self, images: Sequence[Image]) -> Features:
        batch = torch.stack([self._transform(image) for image in images]).to(self._device)
        # Convolutions run in TF32 by default on a GPU: a thousandth off, enough to move a score's last digit.
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return self.model.encode_image(batch).float().cpu().numpy()

    def texts(self, texts: Sequence[str]) -> Features:
        with torch.inference_mode():
            return self.model.encode_text(self._tokenizer(list(texts)).to(self._device)).float().cpu().numpy()

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        if isinstance(self._tokenizer, open_clip.SimpleTokenizer):
            return [len(self._tokenizer.encode(text)) + 2 for text in texts]
        cleaned = [self._tokenizer.clean_fn(text) for text in texts]
        return [len(self._tokenizer.tokenizer(text, verbose=False)["input_ids"]) for text in cleaned]

    @functools.cached_property
    def model(self) -> Any:
        """The open_clip model itself, in float32 and eval mode."""
        local = self._source.model.startswith(LOCAL)
        name = f"{LOCAL}{self._source.weights.parent}" if local else self._source.model
        try:
            model = open_clip.create_model(
                name,
                pretrained=None if local else str(self._source.weights),
                precision="fp32",
                device=self._device,
                require_pretrained=True,
            )
        except Exception as error:  # a missing key, a wrong shape or a damaged file: each library its own
            raise ScoreError(
                f"{self._source.weights} does not fit the CLIP {self._source.model} "
                f"({str(error).splitlines()[0]}); give the weights of that very model"
            ) from error
        if self._source.quick_gelu:
            _assert_quick_gelu(model, self._source)
        return model.eval()

    @functools.cached_property
    def _tokenizer(self) -> Any:
        local = self._source.model.startswith(LOCAL)
        return open_clip.get_tokenizer(
            f"{LOCAL}{self._source.weights.parent}" if local else self._source.model
        )

    @functools.cached_property
    def _weights_sha256(self) -> str:
        return sha256_of_file(self._source.weights)


def activations(model: Any) -> dict[str, set[type]]:
    """The activation classes inside each tower of an open_clip model: {"image": {...}, "text": {...}}."""
    text = model.text if hasattr(model, "text") else model.transformer
    kinds = (QuickGELU, torch.nn.GELU)
    return {
        tower: {type(module) for module in part.modules() if isinstance(module, kinds)}
        for tower, part in (("image", model.visual), ("text", text))
    }


def _assert_quick_gelu(model: torch.nn.Module, source: _Source) -> None:
    for tower, found in activations(model).items():
        if found != {QuickGELU}:
            names = ", ".join(sorted(kind.__name__ for kind in found)) or "no activation that is known"
            raise ScoreError(
                f"the {tower} tower of CLIP {source.model} has {names}, but {source.pretrained} was trained "
                f"with QuickGELU; use --clip-model {source.model.removesuffix('-quickgelu')}-quickgelu"
            )


def _local(model: str) -> _Source:
    folder = Path(model.removeprefix(LOCAL))
    holds = f"a local CLIP is a folder with {CONFIG} and {WEIGHTS}, as open_clip saves it"
    config_file, weights = (local_file(folder, name, holds=holds) for name in (CONFIG, WEIGHTS))
    try:
        value = json.loads(config_file.read_text(encoding="utf-8"))
        config, preprocess = value["model_cfg"], value.get("preprocess_cfg", {})
        # The parts that are read below, so that a wrong file fails here with its name.
        _ = config["embed_dim"], config["vision_cfg"], config["text_cfg"]
    except (ValueError, KeyError, TypeError) as error:
        raise ScoreError(f"{config_file} is not open_clip's configuration ({error!r}); {holds}") from None
    return _Source(
        # Its last folder only: where a model lies on one machine is no part of what it is.
        model=f"{LOCAL}{folder.resolve().name}",
        pretrained=weights.name,
        config=config,
        preprocess=merge_preprocess_dict(PreprocessCfg(), preprocess),
        weights=weights,
        quick_gelu=bool(config.get("quick_gelu", False)),
    )


def _named(model: str, pretrained: str) -> _Source:
    config = open_clip.get_model_config(model) if ":" not in model else None
    if config is None:
        near = difflib.get_close_matches(model, open_clip.list_models(), n=3) or [CLIP_MODEL]
        raise ScoreError(
            f"open_clip knows no model {model!r}; near to it: {', '.join(near)}, or {LOCAL}FOLDER"
        )
    tag = open_clip.get_pretrained_cfg(model, pretrained)
    # The plain twin of a -quickgelu model lists the same tags, marked; open_clip builds GELU there and warns.
    quick_gelu = "quickgelu" in model.lower() or pretrained == "openai" or tag.get("quick_gelu", False)
    if tag:
        weights, preprocess = _weights_of_tag(model, pretrained, tag), tag
    elif Path(pretrained).is_file():
        weights, preprocess = Path(pretrained), {}
        if weights.suffix != ".safetensors":
            raise ScoreError(
                f"{weights} is not a .safetensors file; pickled weights can run code and are not read"
            )
    else:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none"
        raise ScoreError(
            f"--clip-pretrained {pretrained!r} is neither a file nor a tag of {model}; its tags: {tags}"
        )
    return _Source(
        model=model,
        pretrained=pretrained if tag else weights.name,
        config=config,
        preprocess=merge_preprocess_dict(PreprocessCfg(), preprocess),
        weights=weights,
        quick_gelu=quick_gelu,
    )


def _weights_of_tag(model: str, pretrained: str, tag: dict[str, Any]) -> Path:
    repo, _, filename = tag["hf_hub"].rpartition("/")
    if not repo:
        raise ScoreError(
            f"open_clip has {model} {pretrained} as a pickled file only, which is not read; {_INSTEAD}"
        )
    name = str(Path(filename).with_suffix(".safetensors")) if filename else WEIGHTS
    return hub_files(repo, (name,), instead=_INSTEAD)[0]
