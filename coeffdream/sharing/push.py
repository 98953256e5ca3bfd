"""A folder as a repository of the hub, in one commit."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from coeffdream import __version__
from coeffdream.errors import HubError, listed
from coeffdream.progress import Progress, silent, unheard
from coeffdream.records.adapter_names import ADAPTER_FILES
from coeffdream.sharing.hub import HubName, one_line_each, out_of_reach
from coeffdream.sharing.publication import CARD, RECORD, SCORES

NOBODYS = {CARD, ".gitattributes"}  # what the hub itself puts into a new repository


@dataclass(frozen=True)
class Pushed:
    """removed: files of an earlier push that this one has nothing in place of."""

    repo: str
    url: str
    commit: str
    private: bool
    removed: list[str] = field(default_factory=list)


def check_hub() -> None:
    """Raises HubError before any work when nothing could be pushed."""
    from huggingface_hub import get_token

    if why := out_of_reach():
        raise HubError(f"nothing can be pushed: {why}; --to FOLDER writes what would be")
    if get_token() is None:
        raise HubError(
            "the hub needs a token to be written to, and there is none; log in with: hf auth login, or set HF_TOKEN"
        )


def push_folder(
    folder: Path,
    repo: str,
    *,
    private: bool,
    message: str,
    progress: Progress = silent,
    warn: Callable[[str], None] = unheard,
) -> Pushed:
    """Upload `folder` to `repo`, made if it is not there.

    Of an earlier push everything goes that this one does not replace. Raises HubError, with the repository as it was,
    for one that holds something else.
    """
    from huggingface_hub import HfApi

    api = HfApi(library_name="coeffdream", library_version=__version__)
    with one_line_each(HubName(repo)):
        progress("pushing", 0, 1, repo)
        api.create_repo(repo, private=private or None, exist_ok=True)
        before = api.model_info(repo)
        if private and not before.private:
            raise HubError(
                f"{repo} is there already and public; make it private in its settings on the hub, or name another"
            )
        removed = _to_remove(repo, [file.rfilename for file in before.siblings or []], folder)
        commit = api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            commit_message=message,
            delete_patterns=[glob.escape(name) for name in removed] or None,
        )
        progress("pushing", 1, 1, repo)
    if removed:
        warn(f"taken out of {repo}, as this run has no such file: {listed(removed)}")
    return Pushed(repo, f"{api.endpoint}/{repo}", commit.oid, bool(before.private), removed)


def _to_remove(repo: str, there: Sequence[str], folder: Path) -> list[str]:
    foreign = [name for name in there if name not in NOBODYS]
    if foreign and RECORD not in there:
        raise HubError(
            f"{repo} holds something else than a run of coeffdream ({listed(foreign)}); name another repository"
        )
    return [name for name in there if _of_a_push(name) and not (folder / name).is_file()]


def _of_a_push(name: str) -> bool:
    """Whether a push may have put it there; what its owner added by hand under other names stays."""
    at_the_top = "/" not in name and name.endswith(".safetensors")
    return at_the_top or name in (*ADAPTER_FILES, SCORES) or name.startswith(("pictures/", "photos/"))
