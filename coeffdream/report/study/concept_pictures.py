"""The methods side by side: for each concept a few prompts, drawn by every method from the same seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from coeffdream.records.images import ImageRecord, SetFolder
from coeffdream.report.photos import photos
from coeffdream.report.pictures import figures, floor_of
from coeffdream.report.study.cells import Finished
from coeffdream.report.thumbnails import thumbnails
from coeffdream.report.view import Shot

# With these, a study of 12 concepts, 4 methods and the untouched base stays under 10 MB even of noise.
AT_MOST = 300  # pictures on the page
PROMPTS = (2, 6)  # of a concept: at least and at most
PICTURES = {"side": 256, "budget": 4_500_000}
PHOTOS = {"limit": 6, "side": 192}
PHOTO_BUDGET = 900_000  # bytes, of all concepts together
UNTOUCHED = "untouched base"


@dataclass(frozen=True)
class Strip:
    """One prompt and image seed, drawn by the untouched base (if it was) and by every method."""

    prompt: str
    note: str
    shots: list[Shot]


@dataclass(frozen=True)
class ConceptPictures:
    """`folders`: (label, place) of all pictures of each method, seen from the study's folder."""

    name: str
    class_noun: str
    training_seed: int
    photos: list[Shot]
    photos_note: str
    strips: list[Strip]
    prompts: int
    folders: list[tuple[str, str]]


def concept_pictures(
    folder: Path, cells: Sequence[Finished], concepts: Sequence[str], methods: Sequence[str]
) -> list[ConceptPictures]:
    """Each concept with a finished cell; of its training seeds the first that most methods have finished."""
    chosen = [_one_seed([cell for cell in cells if cell.cell.concept == each]) for each in concepts]
    shown = [cells for cells in chosen if cells]
    if not shown:
        return []
    count = prompts_each(len(shown), len(methods) + 1)
    plans = [_plan(cells, count) for cells in shown]
    paths = [path for plan in plans for _, row in plan for path, _ in row]
    made = iter(thumbnails(paths, **PICTURES))
    found = []
    for cells, plan in zip(shown, plans, strict=True):
        first = cells[0]
        strips = []
        for image, row in plan:
            shots = [replace(shot, thumbnail=next(made), link=_seen_from(folder, path)) for path, shot in row]
            strips.append(Strip(image.prompt, f"image seed {image.seed}", shots))
        pictures, note = photos(first.scored.record, **PHOTOS, budget=PHOTO_BUDGET // len(shown))
        found.append(
            ConceptPictures(
                first.cell.concept_name,
                first.scored.record.class_noun,
                first.cell.seed,
                pictures,
                note,
                strips,
                len(first.pictures.read_set().templates),
                [(cell.cell.arm, _seen_from(folder, cell.pictures.path) + "/") for cell in cells],
            )
        )
    return found


def prompts_each(concepts: int, columns: int) -> int:
    """How many prompts of a concept are shown, so that no more than about AT_MOST pictures are."""
    fewest, most = PROMPTS
    return max(fewest, min(most, AT_MOST // (concepts * columns)))


def _one_seed(cells: Sequence[Finished]) -> list[Finished]:
    by_seed: dict[int, list[Finished]] = {}
    for cell in sorted(cells, key=lambda cell: cell.cell.seed):
        by_seed.setdefault(cell.cell.seed, []).append(cell)
    return max(by_seed.values(), key=len, default=[])  # the first of equals


def _plan(cells: Sequence[Finished], count: int) -> list[tuple[ImageRecord, list[tuple[Path, Shot]]]]:
    """The first picture of `count` prompts spread evenly over the list: nothing picked by hand or by score."""
    drawn = {cell.cell.arm: _images(cell.pictures) for cell in cells}
    shared = [key for key in drawn[cells[0].cell.arm] if all(key in each for each in drawn.values())]
    firsts = sorted(key for key in shared if key[1] == min(k[1] for k in shared if k[0] == key[0]))
    last = len(firsts) - 1
    count = min(count, len(firsts))
    places = [round(index * last / (count - 1)) for index in range(count)] if count > 1 else [0] * count
    base = next(
        (each for cell in cells if (each := floor_of(cell.run.images, cell.scored.scores)) is not None), None
    )
    under = _images(base) if base else {}
    plan = []
    for key in (firsts[place] for place in places):
        row = []
        if base and key in under:
            row.append((base.path / under[key].file, _shot(base, under[key], UNTOUCHED, [])))
        for cell in cells:
            image = drawn[cell.cell.arm][key]
            score = next((row for row in cell.scored.scores.per_image if row.file == image.file), None)
            said = [word for word in figures(score) if not word.startswith("nearest")]
            row.append((cell.pictures.path / image.file, _shot(cell.pictures, image, cell.cell.arm, said)))
        plan.append((drawn[cells[0].cell.arm][key], row))
    return plan


def _images(folder: SetFolder) -> dict[tuple[int, int, int], ImageRecord]:
    return {(row.prompt_index, row.image_index, row.seed): row for row in folder.read_images()}


def _shot(folder: SetFolder, image: ImageRecord, name: str, said: list[str]) -> Shot:
    alt = f"{image.prompt}: {name}, seed {image.seed}"
    return Shot(None, "", alt, image.prompt, " · ".join(said), name=name)


def _seen_from(folder: Path, path: Path) -> str:
    return quote(path.relative_to(folder).as_posix())
