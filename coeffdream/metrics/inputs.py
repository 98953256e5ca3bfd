"""The pictures to be scored and the photos they are measured against, checked before anything is encoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coeffdream.data.concept import Concept, load_concept
from coeffdream.data.images import EXTENSIONS
from coeffdream.data.listing import entries, is_text
from coeffdream.data.masks import mask_beside
from coeffdream.data.prompts import ScoringMode, fill_class, to_scoring_text
from coeffdream.errors import ScoreError, listed, quoted, together
from coeffdream.metrics.prompt_table import read_prompt_table
from coeffdream.records.commands import generate_command
from coeffdream.records.files import sha256_of_file, sha256_of_json
from coeffdream.records.images import ImageRecord, SetFolder, SetRecord
from coeffdream.records.run import Part, RunFolder, RunRecord
from coeffdream.records.scores import PhotoHash, PictureHashes, ScoredPicture, which


@dataclass(frozen=True)
class Picture(ScoredPicture):
    """One picture to score. `file` is its name in the records, `path` where it lies."""

    path: Path
    template: str
    text: str


@dataclass(frozen=True)
class Reference:
    """One photo of the concept. held_out: kept out of training."""

    file: str
    path: Path
    sha256: str
    held_out: bool = False


def pictures_of_set(
    folder: SetFolder,
    record: SetRecord,
    *,
    score_text: ScoringMode,
    class_noun: str | Sequence[str],
    token: str | Sequence[str],
) -> list[Picture]:
    """The pictures of a generated set, by its manifest, in the order of their index.

    class_noun, token: of the thing that <V> is, or those of <V1>, <V2>, ...

    Raises ScoreError when pictures are missing, or are not the ones that the manifest says were made.
    """
    rows = sorted(folder.read_images(), key=lambda row: row.index)
    _check_set(folder, record, rows)
    return [
        Picture(
            **which(row),
            path=folder.path / row.file,
            template=row.template,
            text=to_scoring_text(row.prompt, mode=score_text, class_noun=class_noun, token=token),
        )
        for row in rows
    ]


def _check_set(folder: SetFolder, record: SetRecord, rows: list[ImageRecord]) -> None:

    def finish() -> str:
        run = RunFolder(folder.path.parents[1])
        return f"finish it with: {generate_command(run, run.read(), record)}"

    if len(rows) < record.expected:
        raise ScoreError(f"{folder.path} holds {len(rows)} of {record.expected} images; {finish()}")
    places = Counter((row.prompt_index, row.image_index) for row in rows)
    wanted = {(p, i) for p in range(len(record.templates)) for i in range(record.images_per_prompt)}
    if len(rows) != record.expected or places.keys() != wanted:
        raise ScoreError(
            f"{folder.manifest} lists {len(rows)} images that are not the {record.expected} of set.json "
            f"({len(record.templates)} prompts x {record.images_per_prompt}); generate the set again"
        )
    problems = []
    for row in rows:
        path = folder.path / row.file
        if not path.is_file():
            problems.append(f"{row.file} is missing; {finish()}")
        elif sha256_of_file(path) != row.sha256:
            problems.append(f"{row.file} was altered after it was made; remove it, and {finish()}")
    if problems:
        raise ScoreError(together(f"{folder.path} cannot be scored", problems))


def photos_of(concept: Concept) -> list[Reference]:
    """The photos of a concept folder."""
    return [Reference(image.path.name, image.path, image.sha256) for image in concept.images]


def references_of_run(record: RunRecord | Part, folder: Path | None = None) -> list[Reference]:
    """The run's photos, held-out ones among them; for a run without a concept those in `folder`, else none.

    folder: where the photos lie now, if they were moved. Raises ScoreError when they are gone or altered.
    """
    if record.concept is None:
        return [] if folder is None else photos_of(load_concept(folder, class_noun=record.class_noun))
    where = Path(record.concept.folder) if folder is None else folder
    remedy = "put the photos back, or say where they are: --references FOLDER"
    if not where.is_dir():
        raise ScoreError(f"the photos of {record.concept.name!r} are no longer in {where}; {remedy}")
    found, problems = [], []
    for photo in record.concept.images:
        path = where / photo.file
        if not path.is_file():
            problems.append(f"{photo.file} is missing; {remedy}")
        elif sha256_of_file(path) != photo.sha256:
            problems.append(f"{photo.file} is not the photo that the run was given; {remedy}")
        else:
            found.append(Reference(photo.file, path, photo.sha256, photo.held_out))
    if problems:
        raise ScoreError(together(f"the photos in {where} cannot be compared with", problems))
    return found


def pictures_of_folder(
    folder: Path, prompts: Path | None, *, score_text: ScoringMode, class_noun: str, token: str
) -> tuple[list[Picture], list[str]]:
    """Pictures that any other tool drew, and a word on each file there that is not scored.

    prompts: a CSV file with the columns file and prompt (file relative to `folder`); None where every
    subfolder's name is the prompt of the pictures in it, underscores as spaces. A prompt may hold <V>
    and CLASS. Prompts are numbered as they first appear, pictures of one prompt by file name.

    Raises ScoreError that lists every row or file that does not fit.
    """
    if not folder.is_dir():
        raise ScoreError(f"--images {folder} is not a folder; give the folder with the pictures")
    named, left_out = (
        _named_by_subfolder(folder) if prompts is None else (read_prompt_table(prompts, folder), [])
    )
    templates = list(dict.fromkeys(template for _, template in named))
    seen: Counter[int] = Counter()
    pictures = []
    for index, (file, template) in enumerate(
        sorted(named, key=lambda row: (templates.index(row[1]), row[0]))
    ):
        prompt_index = templates.index(template)
        filled = fill_class(template, class_noun)
        pictures.append(
            Picture(
                index=index,
                prompt_index=prompt_index,
                image_index=seen[prompt_index],
                seed=None,
                file=file,
                path=folder / file,
                sha256=sha256_of_file(folder / file),
                template=template,
                text=to_scoring_text(filled, mode=score_text, class_noun=class_noun, token=token),
            )
        )
        seen[prompt_index] += 1
    return pictures, left_out


def _named_by_subfolder(folder: Path) -> tuple[list[tuple[str, str]], list[str]]:
    """(file, prompt) of every picture in a subfolder, and what else was found there."""
    named, left_out, unnamed = [], [], []
    for place in entries(folder):
        if not place.is_dir():
            left_out.append(f"{place.name} (not in a prompt's folder)")
            continue
        for path in entries(place):
            file = path.relative_to(folder).as_posix()
            if path.is_dir():
                left_out.append(f"{file} (a folder in a prompt's folder)")
            elif path.suffix.lower() not in EXTENSIONS:
                left_out.append(f"{file} (of a format that is not read)")
            elif not is_text(file):
                unnamed.append(f"the name {quoted(file)} is not UTF-8 text; rename that file or folder")
            else:
                named.append((file, place.name.replace("_", " ")))
    if unnamed:
        raise ScoreError(together(f"{folder} cannot be scored", unnamed))
    if not named:
        raise ScoreError(
            f"{folder} has no subfolders with pictures; name one subfolder after each prompt, "
            "or give a CSV file with the columns file and prompt: --prompts FILE"
        )
    return named, [f"not scored: {listed(left_out)}"] if left_out else []


def photo_hashes(photos: Sequence[Reference]) -> list[PhotoHash]:
    beside = {photo.path: mask_beside(photo.path) for photo in photos}
    return [
        PhotoHash(
            photo.file,
            photo.sha256,
            photo.held_out,
            sha256_of_file(beside[photo.path]) if beside[photo.path].is_file() else None,
        )
        for photo in photos
    ]


def hashes(pictures: Sequence[Picture]) -> PictureHashes:
    templates = {picture.prompt_index: picture.template for picture in pictures}
    texts = {picture.prompt_index: picture.text for picture in pictures}
    seeds = sorted([p.prompt_index, p.image_index, p.seed] for p in pictures if p.seed is not None)
    return PictureHashes(
        n=len(pictures),
        prompts_sha256=sha256_of_json([templates[index] for index in sorted(templates)]),
        texts_sha256=sha256_of_json([texts[index] for index in sorted(texts)]),
        seeds_sha256=sha256_of_json(seeds) if seeds else None,
    )
