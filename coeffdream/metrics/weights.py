"""Finding an encoder's files: in a folder, in the hub's cache, or on the hub itself."""

from __future__ import annotations

from pathlib import Path

from coeffdream.backbones.hub import why_unreachable
from coeffdream.errors import ScoreError


def hub_files(repo: str, names: tuple[str, ...], *, instead: str) -> list[Path]:
    """Paths of files of a hub repository, from the cache if they are there, else downloaded.

    `instead` says which options point to local files. Raises ScoreError that names the files to
    fetch and the cache that was looked in. Nothing is tried where the hub is out of reach.
    """
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return [Path(hf_hub_download(repo, name, local_files_only=True)) for name in names]
    except LocalEntryNotFoundError:
        pass

    def cannot(reason: str) -> ScoreError:
        return ScoreError(
            f"{' and '.join(names)} of {repo} are not in {constants.HF_HUB_CACHE}, and {reason}; "
            f"fetch them on a machine with a network (hf download {repo} {' '.join(names)}), or {instead}"
        )

    if out_of_reach := why_unreachable():
        raise cannot(out_of_reach)
    try:
        return [Path(hf_hub_download(repo, name)) for name in names]
    except Exception as error:  # refused, gone, or cut off, each by a library of its own
        raise cannot(f"the hub did not give them ({str(error).splitlines()[0]})") from None


def local_file(folder: Path, name: str, *, holds: str) -> Path:
    """`folder/name`. Raises ScoreError that says what a folder of this kind `holds`."""
    path = folder / name
    if not path.is_file():
        there = "has no " + name if folder.is_dir() else "is not a folder"
        raise ScoreError(f"{folder} {there}; {holds}")
    return path
