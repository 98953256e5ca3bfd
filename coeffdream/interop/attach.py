"""Drawing with adapters of other tools: what each adds to a module's output, by forward hooks.

Nothing of the model is replaced, so names, shapes and our own adapters stay as they are, and removing the
hooks leaves no trace. Several adapters add up, so their order does not matter; a weight of w moves every
weight matrix by w times the way to the adapter's, DoRA's too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coeffdream.errors import AdapterError
from coeffdream.interop.changes import Change, LowRank
from coeffdream.interop.names import UNET
from coeffdream.interop.read import OtherAdapter

Added = Callable[[Tensor], Tensor]


class Attachment:
    """Adapters that are in force on `modules`; `remove` takes them out again."""

    def __init__(self, added: Mapping[nn.Module, list[tuple[Change, float]]]) -> None:
        self.modules = frozenset(added)
        self._added = added
        self._handles = [module.register_forward_hook(_hook(changes)) for module, changes in added.items()]

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    @torch.no_grad()
    def added_to_weight(self, module: Any) -> Tensor:
        """What all of them together add to the weight W of a module: sum of w (W' - W), float32."""
        weight = getattr(module, "base_layer", module).weight.float()
        changed = [(_to(change, weight.device).apply(weight), share) for change, share in self._added[module]]
        return torch.stack([share * (own - weight) for own, share in changed]).sum(0)


def attach(weighted: Sequence[tuple[OtherAdapter, float]], components: Mapping[str, Any]) -> Attachment:
    """Put adapters in force. `components`: the models by name: unet, text_encoder, text_encoder_2.

    Raises AdapterError, with nothing attached, for a module that a component has not, or has in another shape.
    """
    added: dict[nn.Module, list[tuple[Change, float]]] = {}
    # One order of summation whatever the order asked for: the same pictures to the last bit.
    for adapter, weight in sorted(weighted, key=lambda pair: (pair[0].sha256, pair[1])):
        for component, changes in adapter.changes.items():
            for path, change in changes.items():
                module = _module(components[component], component, path, adapter)
                added.setdefault(module, []).append((change, weight))
    return Attachment(added)


def _hook(changes: list[tuple[Change, float]]) -> Callable[[Any, tuple[Any, ...], Tensor], Tensor]:
    prepared: dict[torch.device, list[Added]] = {}  # text encoders are moved away and back while one draws

    def after(module: Any, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        if output.device not in prepared:
            base = getattr(module, "base_layer", module)
            prepared.clear()
            prepared[output.device] = [_added(change, base, weight) for change, weight in changes]
        total = output.float()
        for function in prepared[output.device]:
            total = total + function(inputs[0])
        return total.to(output.dtype)

    return after


def _module(model: Any, component: str, path: str, adapter: OtherAdapter) -> Any:
    modules = dict(model.named_modules())
    module = modules.get(path)
    if module is None and component != UNET:
        module = modules.get(f"text_model.{path}")
    base = getattr(module, "base_layer", module)
    shape = adapter.changes[component][path].added
    has = (
        (shape.up.shape[0], *shape.down.shape[1:])
        if isinstance(shape, LowRank)
        else tuple(shape.values.shape)
    )
    if base is None or tuple(base.weight.shape) != has:
        found = "none" if base is None else f"one of {list(base.weight.shape)}"
        raise AdapterError(
            f"{adapter.file} changes {component}.{path} with a weight of {list(has)}, where this base has {found}"
        )
    return module


@torch.no_grad()
def _added(change: Change, base: Any, weight: float) -> Added:
    """x -> weight * (W' x - W x), float32. `base`: the linear layer or convolution with W."""
    device, dtype = base.weight.device, base.weight.dtype
    convolution = isinstance(base, nn.Conv2d)
    place = {"stride": base.stride, "padding": base.padding, "dilation": base.dilation} if convolution else {}

    def through(x: Tensor, matrix: Tensor) -> Tensor:
        return F.conv2d(x, matrix, **place) if convolution else F.linear(x, matrix)

    on_device = _to(change, device)
    factors = on_device.factors(base.weight)
    rows = columns = None
    if change.magnitude is not None and change.magnitude.axis == "out":
        rows = factors
    else:
        columns = factors
    added = on_device.added
    if isinstance(added, LowRank):
        down = added.down if columns is None else added.down * columns
        up = weight * added.scale * (added.up if rows is None else added.up * rows)

        def moved(x: Tensor) -> Tensor:
            inner = through(x.float(), down)
            return F.conv2d(inner, up) if convolution else F.linear(inner, up)

    else:
        whole = (weight * added.values * (1.0 if factors is None else factors)).to(dtype)

        def moved(x: Tensor) -> Tensor:
            return through(x.to(dtype), whole).float()

    if factors is None:
        return moved
    # The base's own part: W with its rows (columns) stretched, less W.
    stretch = weight * (factors - 1)
    if rows is not None:
        along = stretch.flatten().view(-1, 1, 1) if convolution else stretch.flatten()
        return lambda x: moved(x) + along * through(x.to(dtype), base.weight).float()
    across = stretch.flatten().view(-1, 1, 1) if convolution else stretch.flatten()
    return lambda x: moved(x) + through((across * x.float()).to(dtype), base.weight).float()


def _to(change: Change, device: torch.device) -> Change:
    from dataclasses import fields, replace

    def moved(part: Any) -> Any:
        tensors = {
            field.name: getattr(part, field.name).to(device, torch.float32)
            for field in fields(part)
            if isinstance(getattr(part, field.name), Tensor)
        }
        return replace(part, **tensors)

    return Change(moved(change.added), None if change.magnitude is None else moved(change.magnitude))
