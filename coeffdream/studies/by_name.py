"""What a study's --backbone may be: a model of the hub, its cache or a folder, of which only safetensors are read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from safetensors import SafetensorError

from coeffdream.backbones.quiet import quiet
from coeffdream.errors import BaseModelError


@contextlib.contextmanager
def loading_backbone(name: str) -> Iterator[None]:
    """While transformers loads it: quietly. Raises BaseModelError for one that is not there, or damaged."""
    try:
        with quiet():
            yield
    except (OSError, ValueError, SafetensorError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]
        raise BaseModelError(
            f"--backbone {name} was not loaded ({first}); fetch it where there is a network, name a folder that holds it, or "
            "leave --backbone out for the small one that is pretrained here"
        ) from None
