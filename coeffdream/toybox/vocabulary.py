"""Which words the embedded base was taught."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from coeffdream.toybox.world.grammar import WORDS


def unknown_words(prompt: str) -> list[str]:
    """The words of `prompt` that no training caption held, in order, each once. They fall to untrained byte tokens."""
    plain = re.sub(r"<[^<>]*>", " ", prompt.lower())  # the placeholder becomes the identifier, which is known
    words = re.findall(r"[^\s,.;:!?\"()<>]+", plain)
    return list(dict.fromkeys(word for word in words if word not in WORDS))


def warn_of_unknown_words(prompts: Iterable[str], warn: Callable[[str], None]) -> None:
    """Name such words once for all prompts, the first twelve of many."""
    words = list(dict.fromkeys(word for prompt in prompts for word in unknown_words(prompt)))
    if words:
        shown = ", ".join(words[:12]) + (f" and {len(words) - 12} more" if len(words) > 12 else "")
        warn(f"the toybox has never seen these words and will guess: {shown}")


if __name__ == "__main__":
    print("\n".join(WORDS))
