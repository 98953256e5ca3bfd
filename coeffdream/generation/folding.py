"""Drawing with what was learned in the weights themselves: W + BA in place of W beside B and A. Alpha, which no weight
can hold, stays live.

One product takes the place of three; what is drawn is the same but for rounding. docs/performance.md says what it brings.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch

from coeffdream.adapters.merged import merged
from coeffdream.backbones.load import Components
from coeffdream.backbones.replay import replaying
from coeffdream.errors import AdapterError, ConfigError
from coeffdream.generation.adapted import PutOn


@contextlib.contextmanager
def at_work(components: Components, fold: PutOn | None, warn: Callable[[str], None]) -> Iterator[None]:
    """The UNet as it draws: its passes replayed, and `fold` folded into it. Raises ConfigError."""
    with (
        folded(components.unet, fold) if fold else contextlib.nullcontext(),
        replaying(components, warn),
    ):
        yield


@contextlib.contextmanager
def folded(unet: Any, on: PutOn) -> Iterator[None]:
    """In the block, every layer of the UNet that is changed is a plain one with all changes in its weight, rounded once
    to the base's dtype. After it the very same modules are back, which nothing has touched.

    Raises ConfigError, with nothing replaced, for a method that cannot be folded.
    """
    added = {path: each for path, each in unet.named_modules() if each in on.attachment.modules}
    learned = on.adapter.spec.modules if on.adapter else ()
    try:
        plain = {path: _plain(unet, path, on) for path in dict.fromkeys((*learned, *added))}
    except AdapterError as error:
        raise ConfigError(f"--fold: {error}; leave it out") from None
    if not plain:
        raise ConfigError(
            "--fold: nothing was learned but head mixing, which no weight can hold; leave it out"
        )
    replaced = {path: unet.get_submodule(path) for path in plain}
    try:
        for path, layer in plain.items():
            unet.set_submodule(path, layer)
        yield
    finally:
        for path, layer in replaced.items():
            unet.set_submodule(path, layer)


@torch.no_grad()
def _plain(unet: Any, path: str, on: PutOn) -> Any:
    """The linear layer or convolution that takes the place of an adapted one."""
    module = unet.get_submodule(path)
    if on.adapter and path in on.adapter.spec.modules:
        layer: Any = merged(on.adapter, path)
    else:
        layer = copy.deepcopy(module).float()
        layer._forward_hooks.clear()
    if module in on.attachment.modules:
        layer.weight += on.attachment.added_to_weight(module)
    return layer.to(getattr(module, "base_layer", module).weight.dtype)
