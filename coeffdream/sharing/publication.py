"""What of a run goes to the hub: its adapter, its record and its card, and nothing that tells of this machine."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path

from coeffdream.errors import ConfigError, RunError, listed
from coeffdream.interop.names import portable_name
from coeffdream.records.base import BaseRecord
from coeffdream.records.environment import home_expanded
from coeffdream.records.fields import record_to_json
from coeffdream.records.files import sha256_of_file, write_json, write_text
from coeffdream.records.run import RunFolder, RunRecord
from coeffdream.records.scores import ScoresRecord, write_scores
from coeffdream.sharing.finished import check_finished

CARD, RECORD, SCORES, PHOTOS = "README.md", "run.json", "scores.json", "photos"


def adapter_files(run: RunFolder, record: RunRecord) -> dict[str, Path]:
    """The adapter files to publish, by name. Raises RunError when there is nothing of ours that is worth publishing."""
    if record.imported:
        raise RunError(
            f"{record.name} was trained by another tool; publish the file that was imported, with that tool's own card"
        )
    check_finished(record, "pushed")
    for name, digest in record.adapter.items():
        file = run.adapter / name
        if not file.is_file() or sha256_of_file(file) != digest:
            raise RunError(f"{file} is not the one that was trained; put the original back, or train again")
    if not record.adapter:
        raise RunError(f"{run.record_file} names no adapter; train again with this version")
    files = {name: run.adapter / name for name in record.adapter}
    portable = portable_name(record.name)
    if (run.adapter / portable).is_file():
        files[portable] = run.adapter / portable
    return files


def photo_files(record: RunRecord) -> dict[str, Path]:
    """The concept's photos by their names in the repository. Raises RunError when one is gone or altered."""
    if record.concept is None:
        return {}
    folder = Path(record.concept.folder)
    paths = {photo: folder / Path(photo.file).name for photo in record.concept.learned}
    gone = [
        photo.file
        for photo, path in paths.items()
        if not path.is_file() or sha256_of_file(path) != photo.sha256
    ]
    if gone:
        raise RunError(
            f"{folder} no longer holds {listed(gone)} as they were learned from; leave --photos out"
        )
    return {f"{PHOTOS}/{path.name}": path for path in paths.values()}


def write_publication(
    folder: Path,
    record: RunRecord,
    card: str,
    files: Mapping[str, Path],
    scores: ScoresRecord | None,
    *,
    captions: bool,
) -> None:
    """Fill `folder`, which must be new or empty. captions: whether those of the photos may go."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is there already; name another --to, or remove it")
    for name, source in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / name)
    write_json(folder / RECORD, record_to_json(_public_record(record, captions=captions)))
    if scores is not None:
        write_scores(folder / SCORES, _public_scores(scores))
    write_text(folder / CARD, card)


def _public_record(record: RunRecord, *, captions: bool) -> RunRecord:
    """Without the folders of this machine; names and hashes of the photos stay, so that scores can be made again."""
    concept = record.concept
    if concept is not None:
        images = (
            concept.images if captions else [dataclasses.replace(each, caption="") for each in concept.images]
        )
        concept = dataclasses.replace(
            concept, folder=Path(concept.folder).name or concept.name, images=images
        )
    config = dataclasses.replace(
        record.config,
        concept=Path(record.config.concept).name,
        base=_public_base(record.base).name,
        base_config=_public_base(record.base).base_config,
        runs="runs",
        log_with="none",
    )
    return dataclasses.replace(
        record,
        config=config,
        base=_public_base(record.base),
        concept=concept,
        notes=[_without_home(note) for note in record.notes],
    )


def _public_scores(scores: ScoresRecord) -> ScoresRecord:
    source, drawn, drift = scores.source, scores.set, scores.drift
    if source.base is not None:
        source = dataclasses.replace(source, base=_public_base(source.base))
    if drawn.settings is not None:
        settings = dataclasses.replace(drawn.settings, base=_public_base(drawn.settings.base))
        drawn = dataclasses.replace(drawn, settings=settings)
    if drift is not None:
        settings = dataclasses.replace(drift.settings, base=_public_base(drift.settings.base))
        drift = dataclasses.replace(drift, settings=settings)
    drawn = dataclasses.replace(drawn, prompts=drawn.prompts and Path(drawn.prompts).name)
    warnings = [_without_home(warning) for warning in scores.warnings]
    return dataclasses.replace(scores, source=source, set=drawn, drift=drift, warnings=warnings)


def _public_base(base: BaseRecord) -> BaseRecord:
    """A folder or a file by its last name alone."""
    if base.kind not in ("folder", "file"):
        return base
    name = Path(base.source or base.name).name
    configs = base.base_config and Path(base.base_config).name
    return dataclasses.replace(base, name=name, source=name, base_config=configs)


def _without_home(text: str) -> str:
    return text.replace(str(home_expanded("~")), "~")
