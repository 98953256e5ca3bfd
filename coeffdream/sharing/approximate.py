"""Alpha in a file that has no room for it, as nearly as one projection allows.

A layer with mixed heads puts out (F + M) W_o, F the plain heads' outputs side by side and M what the mixing adds. The
best plain layer has W_o + D in its place, with D = argmin ||F D - M W_o||: a regression on what the layer is given when
the concept's prompts are drawn. D goes into the LoRA of to_out, at a rank, by singular values in the metric of F.

Shape letters: N positions, E heads times head dim, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from coeffdream.adapters.install import Adapter
from coeffdream.backbones.encode import Conditioning, encode_prompt
from coeffdream.backbones.load import Components
from coeffdream.backbones.sampling import Sampling, draw
from coeffdream.data.living import is_live
from coeffdream.data.prompts import fill_class, load_prompts, to_model_text
from coeffdream.interop.attach import Attachment, attach
from coeffdream.interop.changes import Change, LowRank
from coeffdream.interop.names import UNET
from coeffdream.interop.read import OtherAdapter
from coeffdream.interop.write import base_weight, changes_of
from coeffdream.progress import Progress
from coeffdream.records.run import RunRecord

FITTED, UNSEEN = 6, 4  # prompts of the run's own list
FARTHEST = 0.5  # of alpha's effect on pictures; beyond that a file is refused
RIDGE = 1e-3  # of the mean squared feature: the regression must hold for prompts that it has not seen


@dataclass
class Moments:
    """Sums over N of products of what one layer is given: F^T F, F^T M, M^T M, each [E, E], float64."""

    plain: Tensor
    crossed: Tensor
    added: Tensor

    def take(self, plain: Tensor, added: Tensor) -> None:
        for total, one, other in (
            (self.plain, plain, plain),
            (self.crossed, plain, added),
            (self.added, added, added),
        ):
            total += (one.T @ other).double().cpu()


@dataclass(frozen=True)
class Approximation:
    """errors: by layer, of prompts that were not fitted: what is missing, 1 being all that alpha does.

    pictures, untouched: root mean square distance (0 to 255) of those prompts' pictures to the ones with exact alpha,
    with the approximation and without alpha.
    """

    changes: dict[str, Change] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    pictures: float = 0.0
    untouched: float = 0.0

    @property
    def share(self) -> float:
        """How much of alpha's effect on pictures is missing."""
        return self.pictures / self.untouched if self.untouched else 0.0

    @property
    def told(self) -> str:
        return (
            f"alpha is approximated in to_out: {100 * self.share:.0f} % of its effect on pictures is missing "
            f"(distance to exact alpha {self.pictures:.1f} of 255, without alpha {self.untouched:.1f})"
        )


def approximate_run(
    components: Components, adapter: Adapter, record: RunRecord, rank: int, progress: Progress
) -> Approximation:
    """Fit and measure on prompts of the list that `coeffdream generate` would draw."""
    base = components.base
    live = record.concept.live if record.concept else is_live(record.class_noun)
    kind = "live" if live else "object"
    listed = f"toybox-{kind}" if base.is_toybox else kind
    templates = load_prompts(listed, class_noun=record.class_noun).templates
    chosen = [templates[i * len(templates) // (FITTED + UNSEEN)] for i in range(FITTED + UNSEEN)]
    texts = [to_model_text(fill_class(each, record.class_noun), record.token) for each in chosen]
    prompts = [encode_prompt(components, text) for text in texts]
    sampling = Sampling(base.settings.sampling_steps, base.settings.guidance_scale, base.settings.resolution)
    return approximate(components, adapter, prompts[:FITTED], prompts[FITTED:], sampling, rank, progress)


@torch.no_grad()
def approximate(
    components: Components,
    adapter: Adapter,
    fitted: Sequence[Conditioning],
    unseen: Sequence[Conditioning],
    sampling: Sampling,
    rank: int,
    progress: Progress,
) -> Approximation:
    """Fit on one set of prompts, measure on another. `adapter` is taken out of the UNet on the way."""
    total = 3 + len(adapter.alpha)
    training, _ = _watched(components, adapter, fitted, sampling)
    progress("approximating alpha", 1, total, "")
    measured, exact = _watched(components, adapter, unseen, sampling)
    progress("approximating alpha", 2, total, "")
    changes = changes_of(adapter.lora)
    errors: dict[str, float] = {}
    for path in adapter.alpha:
        out = f"{path}.to_out.0"
        weight = base_weight(adapter.unet, out).double().cpu()
        trained = changes[out].apply(weight).double().cpu() if out in changes else weight
        changes[out] = Change(_nearest(training[path], weight, trained, rank))
        errors[path] = _missing(
            measured[path], trained.T, changes[out].added.delta().double().T - (trained - weight).T
        )
        progress("approximating alpha", 2 + len(errors), total, "")
    adapter.set_scales(alpha=0.0)
    plain = _draw(components, unseen, sampling)
    adapter.uninstall()
    with ExitStack() as put_on:
        put_on.callback(_attached(components, changes).remove)
        near = _draw(components, unseen, sampling)
    progress("approximating alpha", total, total, "")
    return Approximation(changes, errors, _distance(near, exact), _distance(plain, exact))


def _nearest(moments: Moments, weight: Tensor, trained: Tensor, rank: int) -> LowRank:
    """The LoRA [C, E] of to_out that holds what was trained there and the regression of M W_o on F."""
    size = moments.plain.shape[0]
    metric = moments.plain + RIDGE * moments.plain.trace() / size * torch.eye(size, dtype=torch.float64)
    change = torch.linalg.solve(metric, moments.crossed @ trained.T) + (trained - weight).T  # [E, C]
    lengths, axes = torch.linalg.eigh(metric)
    root = lengths.clamp(min=lengths.max() * 1e-12).sqrt()
    left, values, right = torch.linalg.svd(root[:, None] * (axes.T @ change), full_matrices=False)
    down = (axes @ (left[:, :rank] * values[:rank] / root[:, None])).T
    return LowRank(down.float().contiguous(), right[:rank].T.float().contiguous())


def _missing(moments: Moments, output: Tensor, added: Tensor) -> float:
    """||M W_o - F D|| / ||M W_o|| from the sums alone. output W_o, added D: [E, C]."""
    whole = ((moments.added @ output) * output).sum()
    crossed = ((moments.crossed @ output) * added).sum()
    fitted = ((moments.plain @ added) * added).sum()
    return float(((whole - 2 * crossed + fitted).clamp(min=0) / whole).sqrt()) if whole > 0 else 0.0


def _watched(
    components: Components, adapter: Adapter, prompts: Sequence[Conditioning], sampling: Sampling
) -> tuple[dict[str, Moments], list[Image.Image]]:
    """Draw with exact alpha, and what every layer with mixed heads was given and made of it."""
    moments: dict[str, Moments] = {}
    with ExitStack() as hooks:
        for path in adapter.alpha:
            layer: Any = adapter.unet.get_submodule(path)
            size = layer.inner_dim
            moments[path] = Moments(*(torch.zeros(size, size, dtype=torch.float64) for _ in range(3)))
            _watch(layer, moments[path], hooks)
        pictures = _draw(components, prompts, sampling)
    return moments, pictures


def _watch(layer: Any, moments: Moments, hooks: ExitStack) -> None:
    projected: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: Any, inputs: Any, output: Tensor) -> None:
            projected[name] = output.unflatten(-1, (layer.heads, -1)).transpose(1, 2)

        return hook

    def before_out(module: Any, inputs: tuple[Tensor, ...]) -> None:
        plain = F.scaled_dot_product_attention(projected["q"], projected["k"], projected["v"])
        plain = plain.transpose(1, 2).flatten(2).flatten(0, 1).float()
        moments.take(plain, inputs[0].flatten(0, 1).float() - plain)

    for name in ("q", "k", "v"):
        hooks.callback(getattr(layer, f"to_{name}").register_forward_hook(keep(name)).remove)
    hooks.callback(layer.to_out[0].register_forward_pre_hook(before_out).remove)


def _attached(components: Components, changes: Mapping[str, Change]) -> Attachment:
    return attach(
        [(OtherAdapter(Path("approximation"), "", {UNET: dict(changes)}, {}), 1.0)], {UNET: components.unet}
    )


def _draw(components: Components, prompts: Sequence[Conditioning], sampling: Sampling) -> list[Image.Image]:
    return [draw(components, [prompt], [seed], sampling)[0] for seed, prompt in enumerate(prompts)]


def _distance(ones: Sequence[Image.Image], others: Sequence[Image.Image]) -> float:
    """Root mean square over all pixels of all pairs."""
    pairs = zip(ones, others, strict=True)
    squares = [
        np.mean((np.asarray(one, np.float64) - np.asarray(other, np.float64)) ** 2) for one, other in pairs
    ]
    return float(np.mean(squares) ** 0.5)
