"""A run on the hub as a run here: its record and its adapter are fetched, looked at and put into a folder of runs."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from coeffdream.errors import HubError, RunError
from coeffdream.progress import Progress, silent, unheard
from coeffdream.records.adapter_names import ADAPTER_FILES
from coeffdream.records.claim import numbered
from coeffdream.records.files import replacing, sha256_of_file
from coeffdream.records.run import HubRecord, RunFolder, RunRecord, find_run, new_run
from coeffdream.sharing.hub import PREFIX, HubName, one_line_each, out_of_reach, parse_hub_name

RECORD = "run.json"
RECORD_MOST = 4 << 20  # bytes
ADAPTER_MOST = 16 << 30  # bytes; SDXL's UNet in float32 has ten


def find_run_anywhere(
    run: str | None, runs: Path, progress: Progress = silent, warn: Callable[[str], None] = unheard
) -> RunFolder:
    """As `find_run`; one that begins with hub: is fetched into `runs` unless that state of it is there."""
    if run is None or not run.startswith(PREFIX):
        return find_run(run, runs)
    name = parse_hub_name(run)
    folder, record = fetch(name, progress, warn)
    assert record.hub is not None
    owner, _, own = name.repo.partition("/")
    called = f"{owner}--{own}"[:80] + f"-{record.hub.commit[:8]}"
    for place in numbered(runs / called):
        here = RunFolder(place.resolve())
        if not here.record_file.is_file():
            break
        if here.read().hub == record.hub:
            return here
    with new_run(called, runs) as made:
        for file in record.adapter:
            with replacing(made.adapter / file) as temporary:
                shutil.copyfile(folder / file, temporary)
        made.create(dataclasses.replace(record, name=made.path.name))
    return made


def fetch(
    name: HubName, progress: Progress = silent, warn: Callable[[str], None] = unheard
) -> tuple[Path, RunRecord]:
    """The folder of the hub's cache with a run's record and adapter, and that record with `hub` filled in.

    Without a network what was fetched before is taken. Raises HubError when there is no run in the repository, or
    a file is not the one that its record names.
    """
    from huggingface_hub import HfApi, constants, snapshot_download

    wanted = [RECORD, *ADAPTER_FILES]
    with one_line_each(name):
        away = out_of_reach()
        if away is None:
            there = HfApi().model_info(name.repo, revision=name.revision, files_metadata=True)
            _check_listing(name, {file.rfilename: file.size or 0 for file in there.siblings or []}, wanted)
        elif not constants.HF_HUB_OFFLINE:
            warn(f"{away}; what was fetched of {name} before is taken")
        progress("fetching", 0, 1, str(name))
        folder = Path(
            snapshot_download(
                name.repo, revision=name.revision, allow_patterns=wanted, local_files_only=away is not None
            )
        )
        progress("fetching", 1, 1, str(name))
    record = _checked(name, folder)
    # The cache calls its folders by the commit.
    origin = HubRecord(name.repo, folder.name)
    # What its author logged to is no place of ours.
    return folder, dataclasses.replace(
        record, config=dataclasses.replace(record.config, log_with="none"), hub=origin
    )


def _check_listing(name: HubName, sizes: Mapping[str, int], wanted: Sequence[str]) -> None:
    """Before anything is fetched. sizes: of every file in the repository, in bytes."""
    if RECORD not in sizes:
        raise HubError(
            f"{name} holds no run of coeffdream (no {RECORD}); another tool's adapter is for generate --lora FILE, or for "
            "coeffdream import FILE"
        )
    for file in sizes.keys() & set(wanted):
        size = sizes[file]
        most = RECORD_MOST if file == RECORD else ADAPTER_MOST
        if size > most:
            raise HubError(
                f"{name}: {file} has {size:,} bytes, above the limit of {most:,} for such a file; is it the right one?"
            )


def _checked(name: HubName, folder: Path) -> RunRecord:
    """The record, of whose adapter every file is there as it was trained."""
    try:
        record = RunFolder(folder).read()
    except RunError as error:
        raise HubError(f"{name} is damaged, or of another version of coeffdream: {error}") from None
    if record.status != "complete" or not record.adapter or not set(record.adapter) <= set(ADAPTER_FILES):
        raise HubError(f"{name} holds no finished adapter; ask its author to push it again")
    for file, digest in record.adapter.items():
        path = folder / file
        if not path.is_file():
            raise HubError(f"{name} lacks {file}, which its {RECORD} names; ask its author to push it again")
        if sha256_of_file(path) != digest:
            raise HubError(
                f"{name}: {file} is not the one that was trained (its sha256 differs from that in {RECORD}); remove "
                f"{folder} to fetch it anew, and if that does not help ask its author to push it again"
            )
    return record
