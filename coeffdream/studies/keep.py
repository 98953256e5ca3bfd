"""Which checkpoint to keep: a rule on likeness, text alignment and drift, and on nothing else.

Three shares from 0 to 1 say what a point gained and what it cost (`shares_of`); its worth is their product, so one
percent more of likeness is worth one percent of what the prompts and the base lose. Kept is the earliest step whose
worth is within TOLERANCE of the best: beyond it the training only went on.
"""

from __future__ import annotations

from collections.abc import Sequence

from coeffdream.records.sweep import Levels, Point, Shares

TOLERANCE = 0.05  # of the best worth


def shares_of(points: Sequence[Point], levels: Levels) -> list[Shares]:
    """What each point is worth. Without two photos the most likeness of all points stands for the photos' own."""
    most = max(point.likeness for point in points)
    ceiling = levels.ceiling if levels.ceiling is not None and levels.ceiling > levels.likeness else most
    return [
        Shares(
            gained=_share(point.likeness, levels.likeness, ceiling) if most > levels.likeness else 0.0,
            followed=_share(point.text_alignment, levels.text_chance, levels.text_alignment),
            unchanged=_share(-point.drift, -levels.drift_chance, 0.0),
        )
        for point in points
    ]


def front(points: Sequence[Point]) -> list[bool]:
    """Which points no other one beats: with as much likeness and text alignment, no more drift, and one of them better."""
    rows = [(point.likeness, point.text_alignment, -point.drift) for point in points]
    return [
        not any(other != row and all(o >= r for o, r in zip(other, row, strict=True)) for other in rows)
        for row in rows
    ]


def keep(points: Sequence[Point], levels: Levels) -> tuple[int | None, str]:
    """The place of the point to keep, and why. None when no point is more like the photos than the untouched base."""
    shares = shares_of(points, levels)
    worth = [each.worth for each in shares]
    best = max(range(len(points)), key=worth.__getitem__)
    if worth[best] <= 0:
        return None, "no checkpoint is nearer to the photos than the untouched base and still follows prompts"
    enough = [place for place in range(len(points)) if worth[place] >= (1 - TOLERANCE) * worth[best]]
    kept = min(enough, key=lambda place: (points[place].step, -worth[place]))
    several = len({(point.lora_scale, point.alpha_scale) for point in points}) > 1

    def named(place: int) -> str:
        point = points[place]
        at = f" at --lora-scale {point.lora_scale:g} --alpha-scale {point.alpha_scale:g}" if several else ""
        return f"step {point.step}{at}"

    why = f"{named(kept)} {_said(shares[kept])}; the product, {worth[kept]:.2f}, is the largest"
    if kept != best:
        why = (
            f"{named(kept)} {_said(shares[kept])}; the product, {worth[kept]:.2f}, is within {TOLERANCE:.0%} of the "
            f"largest ({worth[best]:.2f}, {named(best)}), and no earlier one is"
        )
    last = max(range(len(points)), key=lambda place: (points[place].step, worth[place]))
    if points[last].step != points[kept].step:
        why += f". The last, {named(last)}, {_said(shares[last])}: {worth[last]:.2f}"
    return kept, why


def _share(value: float, low: float, high: float) -> float:
    """How far `value` is from `low` to `high`, within 0 and 1; 1 where there is nothing between them to lose."""
    return min(1.0, max(0.0, (value - low) / (high - low))) if high > low else 1.0


def _said(shares: Shares) -> str:
    return (
        f"gained {shares.gained:.0%} of the likeness there is to gain, follows the prompts to {shares.followed:.0%} and "
        f"leaves other pictures as they were to {shares.unchanged:.0%}"
    )
