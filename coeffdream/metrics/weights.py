"""Finding an encoder's files: in a folder, in the hub's cache, or on the hub itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from coeffdream.backbones.hub import why_unreachable
from coeffdream.errors import ScoreError, listed

CONFIG, WEIGHTS = "config.json", "model.safetensors"


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


def named_files(model: str, example: str, flag: str, called: str, more: tuple[str, ...] = ()) -> list[Path]:
    """config.json, model.safetensors and `more` of a transformers model: a folder's, or a hub id's.

    Raises ScoreError for what is neither, and for files that cannot be had; it names the option `flag`.
    """
    names = (CONFIG, WEIGHTS, *more)
    if Path(model).is_dir():
        holds = f"a local {called} is a folder with {listed(names)}, as transformers saves it"
        return [local_file(Path(model), name, holds=holds) for name in names]
    if model.count("/") != 1 or model.startswith((".", "/", "~")):
        raise ScoreError(f"{flag} {model!r} is neither a folder nor a hub id such as {example}")
    return hub_files(model, names, instead=f"give a local folder: {flag} FOLDER")


def configuration(path: Path, kind: str, called: str, flag: str, needs: Sequence[str]) -> dict[str, Any]:
    """A transformers config.json of model_type `kind` that has the keys `needs`. Raises ScoreError for any other."""
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = config["model_type"]
        _ = [config[key] for key in needs]
    except (ValueError, KeyError, TypeError) as error:
        raise ScoreError(
            f"{path} is not a {called}'s configuration ({error!r}); give another {flag}"
        ) from None
    if found != kind:
        raise ScoreError(f"{path} describes a {found!r}, not a {kind}; give a {called} as {flag}")
    return config


def whole_model(kind: Any, weights: Path, called: str, **options: Any) -> Any:
    """The transformers model of class `kind` in the folder of `weights`, in float32 and eval mode.

    Raises ScoreError for weights that do not fit, and for missing ones: transformers would put random
    numbers in their place.
    """
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()  # coeffdream shows a bar of its own
    try:
        model, loading = kind.from_pretrained(
            weights.parent,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            **options,
        )
    except Exception as error:  # a wrong shape or a damaged file: each library its own
        raise ScoreError(
            f"{weights} cannot be loaded as a {called} ({str(error).splitlines()[0]}); fetch it again"
        ) from error
    if loading["missing_keys"]:
        missing = ", ".join(sorted(loading["missing_keys"])[:3])
        raise ScoreError(f"{weights} lacks {missing}, ...; it is not a whole {called}, so fetch it again")
    return model.eval()
