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
from torch import Tensor

from coeffdream.adapters.merged import merged
from coeffdream.errors import AdapterError, ConfigError
from coeffdream.generation.adapted import PutOn
from coeffdream.progress import unheard

MOST_LOST = 0.1  # of what was learned, in norm
LEAST = 1e-4  # of the weights' norm: less is float32's own rounding


@contextlib.contextmanager
def folded(unet: Any, on: PutOn, warn: Callable[[str], None] = unheard) -> Iterator[None]:
    """In the block, every layer of the UNet that is changed is a plain one with all changes in its weight, rounded once
    to the base's dtype. After it the very same modules are back, which nothing has touched.

    `warn` hears where rounding leaves too little of what was learned. Raises ConfigError, with nothing replaced, for a
    method that cannot be folded.
    """
    added = [path for path, each in unet.named_modules() if each in on.attachment.modules]
    replaced = {path: unet.get_submodule(path) for path in (*_learned(on), *added)}
    try:
        made = {path: _plain(path, module, on) for path, module in replaced.items()}
    except AdapterError as error:
        raise ConfigError(f"--fold: {error}; leave it out") from None
    if not made:
        raise ConfigError(
            "--fold: nothing was learned but head mixing, which no weight can hold; leave it out"
        )
    _tell_of_rounding(torch.stack([norms for _, norms in made.values()]).sum(0), unet.dtype, warn)
    try:
        for path, (layer, _) in made.items():
            unet.set_submodule(path, layer)
        yield
    finally:
        for path, module in replaced.items():
            unet.set_submodule(path, module)


def _learned(on: PutOn) -> tuple[str, ...]:
    return on.adapter.spec.modules if on.adapter else ()


@torch.no_grad()
def _plain(path: str, module: Any, on: PutOn) -> tuple[Any, Tensor]:
    """The linear layer or convolution that takes the place of an adapted one, and the squared norms [3] of what rounding
    changes in its weight, of what was learned in it, and of the weight itself."""
    weight = getattr(module, "base_layer", module).weight
    if on.adapter and path in _learned(on):
        layer: Any = merged(on.adapter, path)
    else:
        layer = copy.deepcopy(module).float()
        layer._forward_hooks.clear()
    if module in on.attachment.modules:
        layer.weight += on.attachment.added_to_weight(module)
    wanted = layer.weight.clone()
    layer.to(weight.dtype)
    norms = [each.float().square().sum() for each in (layer.weight - wanted, wanted - weight, wanted)]
    return layer, torch.stack(norms)


def _tell_of_rounding(norms: Tensor, dtype: torch.dtype, warn: Callable[[str], None]) -> None:
    """W lies on the grid of its dtype: a change of less than half a step is lost."""
    lost, learned, size = norms.sqrt().tolist()
    if lost > max(MOST_LOST * learned, LEAST * size):
        warn(
            f"--fold: rounded to {str(dtype).removeprefix('torch.')}, what was learned is {lost / learned:.0%} off; leave "
            "it out, or add --precision fp32"
        )
