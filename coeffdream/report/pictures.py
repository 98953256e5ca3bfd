"""The pictures of a set as the page shows them: prompt by prompt, and the best and worst of each metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, unquote

from coeffdream.records.images import ImageRecord, SetFolder
from coeffdream.records.measures import OF_A_PICTURE
from coeffdream.records.scores import ImageScore, ScoresRecord
from coeffdream.report.thumbnails import thumbnails
from coeffdream.report.view import Cases, PromptRow, Shot

# Longer side in pixels and bytes of all together: with the best and worst cases, which stand in the page
# twice, a page of 100 pictures stays under 10 MB even when they are noise.
PICTURES = {"side": 320, "budget": 4_000_000}
CASES = 4  # pictures at each end of a metric
FIRST = 4  # pictures on the page's first screen
UNDER = {"side": 320, "budget": 250_000}  # the untouched base's beneath them


def floor_of(images: Path, scores: ScoresRecord | None) -> SetFolder | None:
    """The untouched base's set that was scored beside, if it is there."""
    name = scores.floor_set if scores else None
    folder = SetFolder(images / name) if name and Path(name).name == name else None
    return folder if folder and folder.set_file.is_file() else None


def link(folder: SetFolder, image: ImageRecord) -> str:
    """Where a picture lies, seen from its run's folder."""
    return quote(f"images/{folder.path.name}/{image.file}")


def shots_of(
    folder: SetFolder,
    images: list[ImageRecord],
    scores: ScoresRecord | None,
    bases: dict[tuple[int, int, int], str],
) -> dict[str, Shot]:
    """Every picture of the set, by file."""
    links = [link(folder, image) for image in images]
    small = thumbnails([folder.path / image.file for image in images], **PICTURES)
    scored = {row.file: row for row in scores.per_image} if scores else {}
    of_concepts = {
        concept.name: {row.file: row.concept_alignment for row in concept.per_image}
        for concept in (scores.concepts if scores else ())
    }
    return {
        image.file: Shot(
            made,
            link,
            f"{image.prompt}: picture {image.image_index + 1}, seed {image.seed}",
            image.prompt,
            " · ".join(
                [
                    f"seed {image.seed}",
                    *figures(scored.get(image.file)),
                    *(f"{name} {by[image.file]:.3f}" for name, by in of_concepts.items() if image.file in by),
                ]
            ),
            bases.get((image.prompt_index, image.image_index, image.seed), ""),
        )
        for image, made, link in zip(images, small, links, strict=True)
    }


def figures(score: ImageScore | None) -> list[str]:
    """One picture's scores in words."""
    if score is None:
        return []
    named = [
        (measure.words.removesuffix(" alignment"), getattr(score, measure.name)) for measure in OF_A_PICTURE
    ]
    return [
        f"{name} {value:.3f}"
        for name, value in [*named, ("nearest photo", score.nearest)]
        if value is not None
    ]


def rows_of(
    images: list[ImageRecord], shots: dict[str, Shot], scores: ScoresRecord | None
) -> list[PromptRow]:
    """The pictures of each prompt."""
    scored = {row.prompt_index: row for row in scores.per_prompt} if scores else {}
    rows: dict[int, PromptRow] = {}
    for image in images:
        index = image.prompt_index
        rows.setdefault(index, PromptRow(index, image.prompt, [], scored.get(index))).shots.append(
            shots[image.file]
        )
    return [rows[index] for index in sorted(rows)]


def first_seen(rows: Sequence[PromptRow], run: Path) -> list[Shot]:
    """Four prompts spread evenly over the list, the first picture of each: none is picked by hand or by score.

    Of fewer prompts the second pictures too. run: the folder that the pictures' links start from.
    """
    if len(rows) >= FIRST:
        chosen = [rows[round(index * (len(rows) - 1) / (FIRST - 1))].shots[0] for index in range(FIRST)]
    else:
        most = max((len(row.shots) for row in rows), default=0)
        turns = [row.shots[turn] for turn in range(most) for row in rows if turn < len(row.shots)]
        chosen = turns[:FIRST]
    shown = [shot for shot in chosen if shot.thumbnail]
    bases = iter(thumbnails([run / unquote(shot.base) for shot in shown if shot.base], **UNDER))
    return [replace(shot, under=next(bases) if shot.base else None) for shot in shown]


def cases_of(shots: dict[str, Shot], scores: ScoresRecord | None) -> list[Cases]:
    """By each score that a picture has by itself; none for a set so small that best and worst would be the same pictures."""
    if scores is None:
        return []
    found = []
    for measure in OF_A_PICTURE:
        ranked = sorted(
            (value, row.file)
            for row in scores.per_image
            if (value := getattr(row, measure.name)) is not None and row.file in shots
        )
        if len(ranked) >= 2 * CASES:
            ends = ranked[: -CASES - 1 : -1], ranked[:CASES]
            found.append(
                Cases(
                    measure.heading,
                    *([(measure.show(value), shots[file]) for value, file in end] for end in ends),
                )
            )
    return found
