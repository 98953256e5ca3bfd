"""Pictures of a plan's jobs, in batches as large as the memory holds."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from PIL import Image

from coeffdream.backbones.encode import Conditioning, encode_prompt
from coeffdream.backbones.halving import halving
from coeffdream.backbones.load import Components
from coeffdream.backbones.processes import processes
from coeffdream.backbones.sampling import Sampling, draw
from coeffdream.errors import ConfigError, out_of_memory
from coeffdream.generation.plan import SetPlan
from coeffdream.generation.share import in_turns_drawn
from coeffdream.progress import Progress
from coeffdream.records.images import ImagePlan

# So many prompts are encoded at a time: what they become is half a megabyte each for SDXL.
ENCODED_AT_ONCE = 64


@dataclass
class Batches:
    """Of the jobs of one plan, which may be drawn more than once: without what was learned, then with it."""

    components: Components
    sampling: Sampling
    jobs: SetPlan
    negative: str
    size: int
    progress: Progress
    warn: Callable[[str], None]
    conditionings: dict[str, Conditioning] = field(default_factory=dict)

    def forget_texts(self) -> None:
        """What the text encoders say has changed."""
        self.conditionings.clear()

    def drawn(
        self, there: Container[int], last: bool
    ) -> Iterator[tuple[Sequence[ImagePlan], list[Image.Image]]]:
        """The jobs not `there` with their pictures, in batches as large as the memory holds."""
        size = self.size
        for window in self._encoded(there, last):
            if processes().count == 1:
                yield from halving(window, self.size, self._draw, self._smaller)
            else:
                yield from in_turns_drawn(window, size, self._all_of, self.sampling.size)

    def _all_of(self, batch: Sequence[ImagePlan]) -> list[Image.Image]:
        """A batch in as many parts as the memory of this process asks for."""
        parts = halving(batch, self.size, self._draw, self._smaller)
        return [image for _, drawn in parts for image in drawn]

    def _draw(self, batch: Sequence[ImagePlan]) -> list[Image.Image]:
        conditionings = [self.conditionings[job.text] for job in batch]
        try:
            return draw(self.components, conditionings, [job.seed for job in batch], self.sampling)
        except (RuntimeError, MemoryError) as error:
            if len(batch) > 1 or not out_of_memory(error):
                raise
            raise ConfigError(
                f"the memory does not suffice for one picture of {self.sampling.size} pixels; what is drawn is kept. "
                f"Try --size {self.sampling.size // 2}, which makes a set of its own"
            ) from error

    def _smaller(self, size: int) -> None:
        self.warn(
            f"the memory does not suffice for {self.size} pictures at a time; going on with --batch-size {size}"
        )
        self.size = size

    def _encoded(self, there: Container[int], last: bool) -> Iterator[list[ImagePlan]]:
        """The jobs not `there`, a few prompts at a time, which are encoded."""
        missing = sum(index not in there for index in range(len(self.jobs)))
        prompts = len({self.jobs.prompt_of(index) for index in range(len(self.jobs)) if index not in there})
        encoded: set[int] = set()
        for window in self.jobs.parts(there, ENCODED_AT_ONCE):
            missing -= len(window)
            texts = {job.text: job.prompt_index for job in window}
            self.conditionings = {
                text: self.conditionings[text] for text in texts if text in self.conditionings
            }
            self.components.text_encoders_to(self.components.device)
            for text, prompt_index in texts.items():
                if text not in self.conditionings:
                    self.conditionings[text] = encode_prompt(self.components, text, self.negative)
                encoded.add(prompt_index)
                self.progress("encoding prompts", len(encoded), prompts, "")
            if last and not missing:
                self.components.release_text_encoders()
            else:
                self.components.text_encoders_to(torch.device("cpu"))
            yield window
