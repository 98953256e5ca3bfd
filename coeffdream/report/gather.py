"""Everything the page shows of one run, read from its folder."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from coeffdream.errors import RunError
from coeffdream.records.images import ImageRecord, SetFolder, find_set
from coeffdream.records.run import COEFF_FILE, RunFolder
from coeffdream.records.scores import ScoresRecord, read_scores
from coeffdream.records.sweep import read_sweep
from coeffdream.report import provenance
from coeffdream.report.alpha import read_mixing
from coeffdream.report.heatmap import Heatmap, heatmaps
from coeffdream.report.log import last_step, progress_of, rates, read_log
from coeffdream.report.photos import photos, samples, sweep_picture
from coeffdream.report.pictures import cases_of, first_seen, floor_of, link, rows_of, shots_of
from coeffdream.report.plots import loss_curve
from coeffdream.report.view import Page


def gather(run: RunFolder, set_name: str | None = None) -> Page:
    """Read a run for its report. Raises RunError for a set that is not there and for damaged records."""
    record, state = run.look()
    notes: list[str] = list(record.notes)
    folder = _shown_set(run.images, set_name)
    made = folder.read_set() if folder else None
    images = folder.read_images() if folder else []
    scores = _scores(folder, images, notes) if folder else None
    bases = _untouched(run.images, scores)
    shots = shots_of(folder, images, scores, bases) if folder else {}
    rows = rows_of(images, shots, scores)
    log = read_log(run, state)
    changed, defaults = provenance.settings(record)
    maps, limit, source = _coefficients(run)
    shown_photos, photos_note = photos(record)
    swept = read_sweep(run)
    if made and len(images) < made.expected:
        notes.append(
            f"The set {made.name} is unfinished: {len(images)} of {made.expected} pictures are there."
        )
    if gone := sum(shot.thumbnail is None for shot in shots.values()):
        notes.append(
            f"{gone} of {len(images)} pictures of {made.name if made else ''} cannot be read any more."
        )
    return Page(
        run=record,
        created=moment(run, record.created),
        state=state,
        status=provenance.status(record, state, last_step(log)),
        notes=notes,
        commands=provenance.reproduction(run, record, made, scores),
        missing=provenance.missing(run, record, state, made, images, scores),
        photos=shown_photos,
        photos_note=photos_note,
        live=progress_of(record, log) if state == "training" else None,
        first=first_seen(rows, run.path),
        made=made,
        other_sets=_other_sets(run.images, folder),
        rows=rows,
        scores=scores,
        cases=cases_of(shots, scores),
        samples=samples(run),
        loss=loss_curve(log, record.validation),
        rates=rates(log, record),
        sweep=swept,
        sweep_picture=sweep_picture(run) if swept else None,
        heatmaps=maps,
        heat_limit=limit,
        heat_source=source,
        changed=changed,
        defaults=defaults,
        hashes=provenance.hashes(record, made, scores),
    )


def moment(run: RunFolder, text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise RunError(
            f"{run.record_file}: created is {text!r}, which is no time; restore the file"
        ) from None


def _shown_set(images: Path, name: str | None) -> SetFolder | None:
    """The set named, else the one that `find_set` takes; None when nothing was drawn yet."""
    if name is None and not any(images.glob("*/set.json")):
        return None
    return find_set(images, name)


def _scores(folder: SetFolder, images: list[ImageRecord], notes: list[str]) -> ScoresRecord | None:
    file = folder.path / "scores.json"
    if not file.is_file():
        return None
    scores = read_scores(file)
    if {row.file: row.sha256 for row in scores.per_image} != {row.file: row.sha256 for row in images}:
        notes.append("The pictures were drawn again after they were scored: run coeffdream eval again.")
    return scores


def _untouched(images: Path, scores: ScoresRecord | None) -> dict[tuple[int, int, int], str]:
    """Links to the floor set's pictures, by prompt, image and seed."""
    folder = floor_of(images, scores)
    if folder is None:
        return {}
    return {
        (image.prompt_index, image.image_index, image.seed): link(folder, image)
        for image in folder.read_images()
        if (folder.path / image.file).is_file()
    }


def _coefficients(run: RunFolder) -> tuple[list[Heatmap], float, str]:
    """The finished adapter's alpha', else the newest checkpoint's."""
    newest = sorted(run.checkpoints.glob(f"*/{COEFF_FILE}"))[-1:]
    for file in [run.adapter / COEFF_FILE, *newest]:
        if file.is_file():
            maps, limit = heatmaps(read_mixing(file.parent))
            return maps, limit, "" if file.parent == run.adapter else f"checkpoint {file.parent.name}"
    return [], 0.0, ""


def _other_sets(images: Path, shown: SetFolder | None) -> list[tuple[str, int]]:
    folders = [SetFolder(path.parent) for path in sorted(images.glob("*/set.json"))]
    return [
        (each.path.name, len(each.read_images())) for each in folders if shown and each.path != shown.path
    ]
