"""Work on a CUDA card that is recorded once, as a CUDA graph, and then replayed.

A pass of SDXL's UNet is thousands of small kernels, which Python launches more slowly than a fast card runs them. A
recording launches the same kernels on the same memory in one call: nothing else is computed, and no byte of Python
runs. docs/performance.md says what it brought.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from coeffdream.progress import unheard

# A card with less is slower than Python launches, and has no memory to spare.
LEAST_MEMORY = 15 << 30
RECORDINGS = 4  # each keeps its activations; what has more layouts than these is not recorded
OFF = "COEFFDREAM_REPLAY"

Layout = tuple[tuple[str, torch.Size, torch.dtype], ...]


def replays(device: torch.device) -> bool:
    """Whether work on a device is recorded at all."""
    if device.type != "cuda" or os.environ.get(OFF) == "0" or not torch.cuda.is_available():
        return False
    return torch.cuda.get_device_properties(device).total_memory >= LEAST_MEMORY


@dataclass(frozen=True)
class _Recording:
    graph: Any  # torch.cuda.CUDAGraph
    inputs: dict[str, Tensor]
    result: Tensor

    def replayed(self, given: Mapping[str, Tensor]) -> Tensor:
        for name, tensor in given.items():
            self.inputs[name].copy_(tensor)
        self.graph.replay()
        return self.result.clone()


class Replayed:
    """`work`, a function of named tensors to one tensor, replayed from its second call with one layout on.

    What else `work` reads or writes (weights, gradients, masks) stays where it lies in memory, and is changed in
    place only, until `release`. The result carries no graph of autograd. On another device, and once a recording
    failed, which `notice` hears, `work` is simply called.
    """

    def __init__(
        self,
        work: Callable[[Mapping[str, Tensor]], Tensor],
        device: torch.device,
        notice: Callable[[str], None] = unheard,
    ) -> None:
        self._work, self._notice = work, notice
        self.records = replays(device)
        # Autograd works where the forward pass did, and a recording cannot wait for another stream.
        self._stream: Any = torch.cuda.Stream(device) if self.records else None
        self._recordings: dict[Layout, _Recording] = {}
        self._met: set[Layout] = set()

    def __call__(self, given: Mapping[str, Tensor]) -> Tensor:
        if not self.records:
            return self._work(given)
        layout = tuple((name, tensor.shape, tensor.dtype) for name, tensor in given.items())
        recording = self._recordings.get(layout)
        # The first call is no rehearsal: it measures attention, and lets libraries choose and allocate.
        if recording is None and layout in self._met and len(self._recordings) < RECORDINGS:
            recording = self._record(layout, given)
        self._met.add(layout)
        return recording.replayed(given) if recording else self._called(given)

    def release(self) -> None:
        """Give back the memory of all recordings; the work is recorded again when it comes again."""
        self._recordings.clear()
        self._met.clear()

    def _called(self, given: Mapping[str, Tensor]) -> Tensor:
        main = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(main)
        with torch.cuda.stream(self._stream):
            result = self._work(given)
        main.wait_stream(self._stream)
        return result

    def _record(self, layout: Layout, given: Mapping[str, Tensor]) -> _Recording | None:
        inputs = {name: tensor.to(self._stream.device, copy=True) for name, tensor in given.items()}
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                result = self._work(inputs)
        except RuntimeError as error:
            self._forget_the_attempt()
            self.release()
            self.records = False
            self._notice(
                f"this card's work could not be recorded ({str(error).splitlines()[0]}); it goes on launched piece by piece"
            )
            return None
        self._recordings[layout] = _Recording(graph, inputs, result)
        return self._recordings[layout]

    def _forget_the_attempt(self) -> None:
        """A recording that fails leaves the card's generator as if it went on; one that ends sets it right."""
        with contextlib.suppress(RuntimeError), torch.cuda.graph(torch.cuda.CUDAGraph(), stream=self._stream):
            torch.zeros((), device=self._stream.device)


@contextlib.contextmanager
def replaying(components: Any, notice: Callable[[str], None] = unheard) -> Iterator[None]:
    """In the block, passes of the UNet without gradients are replayed. Its adapter stays the same meanwhile.

    components: of backbones.load. A UNet that leaves the card between passes cannot be recorded.
    """
    unet = components.unet
    if components.offload != "none" or not replays(unet.device):
        yield
        return
    forward = unet.forward

    def passed(given: Mapping[str, Tensor]) -> Tensor:
        added = {name: given[name] for name in ("text_embeds", "time_ids")}
        named = {name: given[name] for name in ("sample", "timestep", "encoder_hidden_states")}
        [predicted] = forward(**named, added_cond_kwargs=added, return_dict=False)
        return torch.as_tensor(predicted)

    replayed = Replayed(passed, unet.device, notice)

    def instead(sample: Tensor, timestep: Tensor, *args: Any, **kwargs: Any) -> Any:
        """As diffusers' pipelines call a UNet; every other call goes through."""
        told = {name: value for name, value in kwargs.items() if value is not None}
        usual = {"encoder_hidden_states", "added_cond_kwargs", "return_dict"}
        if args or told.keys() != usual or told["return_dict"] or torch.is_grad_enabled():
            return forward(sample, timestep, *args, **kwargs)
        given = {
            "sample": sample,
            "timestep": timestep,
            "encoder_hidden_states": told["encoder_hidden_states"],
        }
        return (replayed(given | told["added_cond_kwargs"]),)

    unet.forward = instead
    try:
        yield
    finally:
        del unet.forward
        replayed.release()
