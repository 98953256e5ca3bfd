"""Words on prompts that can be drawn, and will not show what was meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from coeffdream.data.prompts import other_noun


def warn_of_other_nouns(templates: Iterable[str], class_noun: str, warn: Callable[[str], None]) -> None:
    """Of prompts that ask the run for something that it never saw."""
    found = dict.fromkeys(noun for each in templates if (noun := other_noun(each, class_noun)))
    if found:
        shown = ", ".join(f"<V> {noun}" for noun in list(found)[:8])
        warn(
            f"prompts speak of {shown}, but what this run learned is a {class_noun}; "
            f'write "<V> {class_noun}" or train with another --class'
        )
