"""A study's concepts are photos, wherever they lie: a study that moved, or goes on elsewhere, learns from the same ones."""

from __future__ import annotations

from pathlib import Path

from coeffdream.data.concept import load_concept
from coeffdream.errors import ConfigError, RunError, together
from coeffdream.records.run import RunFolder, RunRecord
from coeffdream.records.study import StudyFolder
from coeffdream.records.study_plan import Cell, Study


def check_photos(kept: StudyFolder, study: Study) -> None:
    """Raises ConfigError that names every concept whose photos, captions or masks are not those that its first cell learned
    from."""
    first: dict[str, RunRecord] = {}
    for cell in study.cells:
        if cell.concept not in first and (record := _record(kept.run(cell))):
            first[cell.concept] = record
    others = [folder for folder, record in first.items() if not _as_learned(Path(folder), record)]
    if others:
        raise ConfigError(
            together(
                f"{kept.path} has cells that learned from other photos, captions or masks (put those back, or name another "
                "--study)",
                [f"{folder} is not what {first[folder].name} learned from" for folder in others],
            )
        )


def moved(cell: Cell, run: RunFolder) -> bool:
    """Whether the cell's photos lie elsewhere than where its run has them."""
    record = run.read()
    return record.concept is not None and record.concept.folder != cell.concept


def _record(run: RunFolder) -> RunRecord | None:
    try:
        return run.read() if run.record_file.is_file() else None
    except RunError:  # told of when the cell's turn comes
        return None


def _as_learned(folder: Path, record: RunRecord) -> bool:
    if record.concept is None:
        return True
    now = load_concept(
        folder, class_noun=record.config.class_noun, caption_template=record.config.caption
    ).images
    return [
        (photo.file, photo.sha256, photo.caption, photo.mask_sha256) for photo in record.concept.images
    ] == [(image.path.name, image.sha256, image.caption, image.mask_sha256) for image in now]
