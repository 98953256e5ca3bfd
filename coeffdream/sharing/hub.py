"""Speaking to the model hub: what a repository is called, whether it can be asked, and its refusals in one line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from coeffdream.backbones.hub import why_unreachable
from coeffdream.errors import CoeffdreamError, HubError, quoted

PREFIX = "hub:"


@dataclass(frozen=True)
class HubName:
    """hub:REPO[@REVISION]; a revision is a branch, a tag or a commit, and None the main branch."""

    repo: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{PREFIX}{self.repo}" + (f"@{self.revision}" if self.revision else "")


def parse_hub_name(typed: str) -> HubName:
    """`typed` begins with hub:. Raises HubError when the rest is no name of a repository."""
    repo, at, revision = typed.removeprefix(PREFIX).partition("@")
    check_repo(repo, typed)
    if at and not revision:
        raise HubError(f"{quoted(typed)} names no revision after @; write a branch, a tag or a commit there")
    return HubName(repo, revision or None)


def check_repo(repo: str, typed: str) -> None:
    """Raises HubError for what the hub would not take as the name of a repository."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError:
        repo = ""
    if repo.count("/") != 1:
        raise HubError(f"{quoted(typed)} names no repository of the hub; write OWNER/NAME, such as me/my-cat")


def out_of_reach() -> str | None:
    """Why the hub cannot be asked, in words; None when it answers."""
    from huggingface_hub import constants

    return "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else why_unreachable()


@contextlib.contextmanager
def one_line_each(name: HubName) -> Iterator[None]:
    """What the hub's client raises as HubError, which says what to do about it. Errors of the disk stay what they are."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except CoeffdreamError:
        raise
    except GatedRepoError:
        raise HubError(
            f"{name} is gated; ask for access on its page, then log in with: hf auth login"
        ) from None
    except RevisionNotFoundError:
        raise HubError(
            f"{name.repo} has no revision {quoted(name.revision)}; name a branch, a tag or a commit that is there"
        ) from None
    except RepositoryNotFoundError:
        raise HubError(
            f"{name.repo} is not on the hub, or it is private and the token does not open it; "
            "check the name, or log in with: hf auth login"
        ) from None
    except LocalEntryNotFoundError:
        raise HubError(
            f"{name} was not fetched before, and cannot be now ({out_of_reach() or 'it lacks files'}); "
            "fetch it once with a network"
        ) from None
    except HfHubHTTPError as error:
        if error.response.status_code in (401, 403):
            raise HubError(
                f"the token may not do that with {name.repo} (HTTP {error.response.status_code}); "
                "log in with one that may write to it: hf auth login"
            ) from None
        raise HubError(f"the hub refused {name} ({_first_line(error)}); try again later") from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        # The client changes its HTTP library, and with it the tree of errors.
        raise HubError(f"the work with {name} broke off ({_first_line(error)}); try again") from None


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{lines[0] if lines else type(error).__name__:.200}"
