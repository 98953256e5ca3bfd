"""Which images make up a set: one for each prompt and number, each with a seed of its own."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from coeffdream.data.prompts import fill_class, to_model_text
from coeffdream.records.images import ImagePlan


@dataclass(frozen=True)
class SetPlan(Sequence[ImagePlan]):
    """Images in the order of the prompts; number i of the set has seed `seed + i`. Each is made when it is asked for.

    token: what <V> becomes in the text encoders, or what <V1>, <V2>, ... become.
    """

    templates: Sequence[str]
    class_noun: str
    token: str | Sequence[str]
    images_per_prompt: int
    seed: int

    def __len__(self) -> int:
        return len(self.templates) * self.images_per_prompt

    def prompt_of(self, index: int) -> int:
        """The place of an image's prompt in `templates`."""
        return index // self.images_per_prompt

    @overload
    def __getitem__(self, index: int) -> ImagePlan: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ImagePlan]: ...
    def __getitem__(self, index: int | slice) -> ImagePlan | Sequence[ImagePlan]:
        if isinstance(index, slice):
            return [self[each] for each in range(len(self))[index]]
        index = range(len(self))[index]
        prompt_index, image_index = divmod(index, self.images_per_prompt)
        template = self.templates[prompt_index]
        prompt = fill_class(template, self.class_noun)
        file = f"{prompt_index:02d}-{image_index}-{slug(prompt)}.png"
        text = to_model_text(prompt, self.token)
        return ImagePlan(index, prompt_index, image_index, template, prompt, text, self.seed + index, file)

    def texts(self) -> Iterator[str]:
        """What the text encoders read, prompt by prompt."""
        return (self[index].text for index in range(0, len(self), self.images_per_prompt))

    def parts(self, there: Container[int], prompts: int) -> Iterator[list[ImagePlan]]:
        """The images not `there`, a part at a time: of at most so many prompts, all theirs together."""
        part: list[ImagePlan] = []
        seen: set[int] = set()
        for index in range(len(self)):
            if index in there:
                continue
            if self.prompt_of(index) not in seen and len(seen) == prompts:
                yield part
                part, seen = [], set()
            part.append(self[index])
            seen.add(self.prompt_of(index))
        if part:
            yield part


def slug(prompt: str, longest: int = 48) -> str:
    """A prompt as a file name: "a <V> cat in the snow" -> "a-cat-in-the-snow"."""
    words = re.sub(r"[^a-z0-9]+", "-", re.sub(r"<V\d*>", " ", prompt).lower()).strip("-")
    return words[:longest].rstrip("-") or "image"
