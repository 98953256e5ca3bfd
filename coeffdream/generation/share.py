"""The pictures of one set, drawn by several processes: which are missing, and what each drew of them."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from coeffdream.backbones.processes import in_turns
from coeffdream.records.images import ImagePlan


def as_mask(there: Container[int], total: int) -> Tensor:
    """[total] uint8: 1 for a picture that is there."""
    return torch.tensor([index in there for index in range(total)], dtype=torch.uint8)


def in_turns_drawn(
    jobs: Sequence[ImagePlan],
    at_once: int,
    draw: Callable[[Sequence[ImagePlan]], list[Image.Image]],
    size: int,
) -> Iterator[tuple[Sequence[ImagePlan], list[Image.Image]]]:
    """The batches that a single process would draw, in their order, with the pictures of whichever process drew them."""

    def pixels(batch: Sequence[ImagePlan]) -> Tensor:
        return torch.stack([torch.from_numpy(np.array(image.convert("RGB"))) for image in draw(batch)])

    for batch, found in in_turns(jobs, at_once, pixels, (size, size, 3), torch.uint8):
        yield batch, [Image.fromarray(each.numpy()) for each in found]
