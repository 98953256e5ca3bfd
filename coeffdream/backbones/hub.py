"""Whether the model hub can be asked, found out quickly."""

from __future__ import annotations

PROBE_SECONDS = 5.0


def why_unreachable() -> str | None:
    """Why nothing can be fetched from the hub, in words; None when it answers.

    Asked before its client is, which would try again for half a minute.
    """
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE forbids fetching them"
    try:
        get_session().head(constants.ENDPOINT, timeout=PROBE_SECONDS)
    except Exception as error:  # the hub's client changes its HTTP library, and with it the tree of errors
        return f"the hub cannot be reached ({error})"
    return None
