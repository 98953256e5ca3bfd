"""The photos a run learned from, and the sample pictures it drew on the way."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from coeffdream.records.concept import ConceptRecord
from coeffdream.records.files import sha256_of_file
from coeffdream.records.run import RunFolder, RunRecord
from coeffdream.report.thumbnails import thumbnails
from coeffdream.report.view import Shot

PHOTO_LIMIT, SAMPLE_LIMIT = 12, 6
SAMPLES = {"side": 1200, "budget": 700_000}


def photos(
    record: RunRecord, *, limit: int = PHOTO_LIMIT, side: int = 480, budget: int = 700_000
) -> tuple[list[Shot], str]:
    """The concept's photos where the run found them, and a word on those that are no longer as they were; of several
    runs together those of each."""
    found = [_photos_of(each, limit, side, budget // len(record.concepts)) for each in record.concepts]
    return [shot for shots, _ in found for shot in shots], " ".join(said for _, said in found if said)


def _photos_of(concept: ConceptRecord, limit: int, side: int, budget: int) -> tuple[list[Shot], str]:
    folder, listed = Path(concept.folder), concept.images
    paths = {image.file: folder / Path(image.file).name for image in listed}
    gone = [file for file, path in paths.items() if not path.is_file()]
    changed = [
        image.file
        for image in listed
        if image.file not in gone and sha256_of_file(paths[image.file]) != image.sha256
    ]
    there = [image for image in listed if image.file not in (*gone, *changed)]
    shots = [
        Shot(
            small,
            "",
            f"photo {image.file} of the {concept.class_noun} {'held out' if image.held_out else 'to learn'}",
            image.caption,
            f"{image.file} · {image.width} × {image.height} pixels{' · held out of training' if image.held_out else ''}",
        )
        for image, small in zip(
            there[:limit],
            thumbnails([paths[image.file] for image in there[:limit]], side=side, budget=budget),
            strict=True,
        )
    ]
    words = []
    if gone:
        words.append(f"{len(gone)} of {len(listed)} photos are no longer in {folder}.")
    if changed:
        words.append(f"Changed since the training, so not shown: {', '.join(changed)}.")
    if len(there) > limit:
        words.append(f"The first {limit} of {len(there)}.")
    return shots, " ".join(words)


def sweep_picture(run: RunFolder) -> Shot | None:
    """The picture of a run's sweep; None where there is none."""
    file = run.sweep.with_suffix(".png")
    [small] = thumbnails([file], **SAMPLES)
    return Shot(small, file.name, "likeness over drift and over text alignment", "sweep") if small else None


def sample_files(run: RunFolder) -> list[Path]:
    """The first sample pictures drawn while training, the last, and some between."""
    files = sorted(run.samples.glob("step_*.png"))
    if len(files) > SAMPLE_LIMIT:
        last = len(files) - 1
        files = [files[round(index * last / (SAMPLE_LIMIT - 1))] for index in range(SAMPLE_LIMIT)]
    return files


def samples(run: RunFolder) -> list[Shot]:
    """`sample_files`, small."""
    files, shots = sample_files(run), []
    for file, small in zip(files, thumbnails(files, **SAMPLES), strict=True):
        number = file.stem.removeprefix("step_")
        step = f"step {int(number):,}" if number.isdigit() else file.stem
        shots.append(Shot(small, quote(f"samples/{file.name}"), f"sample pictures at {step}", step))
    return shots
