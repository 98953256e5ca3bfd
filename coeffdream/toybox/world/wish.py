"""What a picture of the drawn world is asked to show."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Wish:
    """What a caption asks for; None where it leaves the choice open."""

    subject: str | None = None
    colour: str | None = None
    pattern: str | None = None
    background: str | None = None
    background_colour: str | None = None
    accessory: str | None = None
    accessory_colour: str | None = None
