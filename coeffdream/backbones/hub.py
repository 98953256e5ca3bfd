"""The model hub: what is in its cache, what a repository holds, and fetching no more than is needed.

What is in the cache is used without asking. Otherwise the hub is first probed, for its own client tries again for
half a minute, and then every refusal is told by its cause.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from coeffdream.errors import BaseModelError

PROBE_SECONDS = 5.0
INDEX = "model_index.json"
INSTEAD = "Without it: --base toybox (embedded, offline), or --base PATH with a diffusers folder or a .safetensors checkpoint"


def why_unreachable() -> str | None:
    """Why nothing can be fetched from the hub, in words; None when it answers."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE forbids fetching them"
    try:
        get_session().head(constants.ENDPOINT, timeout=PROBE_SECONDS)
    except Exception as error:  # the hub's client changes its HTTP library, and with it the tree of errors
        return f"the hub cannot be reached ({error})"
    return None


def cached_snapshot(repository: str, revision: str | None) -> Path | None:
    """The folder of a repository's snapshot in the hub's cache, whatever of it is there; None without its index."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(
            snapshot_download(repository, revision=revision, allow_patterns=[INDEX], local_files_only=True)
        )
    except (OSError, ValueError, RuntimeError):  # the last: a user without a home folder has no cache
        return None
    return folder if (folder / INDEX).is_file() else None


@dataclass(frozen=True)
class Listing:
    """What a repository holds at a revision: the size in bytes of each file."""

    repository: str
    revision: str | None
    commit: str
    sizes: dict[str, int]

    def missing(self, names: Iterable[str]) -> list[str]:
        """Those of `names` that are not in the cache."""
        folder = cached_snapshot(self.repository, self.commit)
        return [name for name in names if folder is None or not (folder / name).is_file()]

    def size_of(self, names: Iterable[str]) -> int:
        return sum(self.sizes[name] for name in names)


def listing(repository: str, revision: str | None) -> Listing:
    """Ask the hub. Raises BaseModelError that says why it does not answer."""
    from huggingface_hub import HfApi

    if out_of_reach := why_unreachable():
        raise BaseModelError(
            f"the weights of {repository} are not in the hub's cache ({cache_place()}), and {out_of_reach}. {INSTEAD}"
        )
    try:
        told = HfApi().model_info(repository, revision=revision, files_metadata=True)
    except Exception as error:
        raise explained(repository, revision, error) from error
    return Listing(
        repository, revision, str(told.sha), {each.rfilename: each.size or 0 for each in told.siblings or ()}
    )


def fetch(of: Listing, names: Iterable[str], tell: Callable[[str], None] | None = None) -> Path:
    """Bring files of a repository into the cache; the folder of its snapshot.

    tell: hears the size, the place and the free disk before; the hub's own bars show the rest.
    Raises BaseModelError, also before anything is fetched where the disk has no room.
    """
    from huggingface_hub import snapshot_download
    from rich.filesize import decimal

    wanted = sorted(names)
    if tell is not None:
        missing = of.missing(wanted)
        size, free = of.size_of(missing), free_disk()
        tell(
            f"fetching {of.repository}: {decimal(size)} in {len(missing)} files, into {cache_place()} "
            f"({decimal(free)} free)"
        )
        if size > free:
            raise BaseModelError(
                f"{of.repository} needs {decimal(size)} more in {cache_place()}, where {decimal(free)} are free; make "
                "room, or set HF_HOME to a larger disk"
            )
    try:
        # By its name, not its commit: so the client notes under that name what is in the cache.
        return Path(snapshot_download(of.repository, revision=of.revision, allow_patterns=wanted))
    except Exception as error:
        raise explained(of.repository, of.revision, error) from error


def cache_place() -> str:
    from huggingface_hub import constants

    return str(constants.HF_HUB_CACHE)


def free_disk() -> int:
    """Bytes free where the cache is, or will be made."""
    place = Path(cache_place())
    return shutil.disk_usage(next(each for each in (place, *place.parents) if each.exists())).free


def explained(repository: str, revision: str | None, error: Exception) -> BaseModelError:
    """Why the hub did not give a repository, by what its client raised."""
    from huggingface_hub import errors

    first = next(iter(str(error).strip().splitlines()), "")[:200]
    if isinstance(error, errors.GatedRepoError):
        told = (
            f"asks to accept its terms first (https://huggingface.co/{repository}); do so, then hf auth login"
        )
    elif isinstance(error, errors.RevisionNotFoundError):
        told = f"has no revision {revision}; leave --revision out, or correct it"
    elif isinstance(error, errors.RepositoryNotFoundError):
        told = "is not on the hub, or is private; correct the name, or hf auth login"
    elif isinstance(error, errors.HFValidationError):
        told = f"is no name of a repository ({first})"
    else:
        told = f"was not fetched ({type(error).__name__}: {first}). {INSTEAD}"
    return BaseModelError(f"{repository} {told}")
