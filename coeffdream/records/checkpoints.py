"""The checkpoints of a run as files: which there are, whether one is as it was written, and which make room.

`checkpoints/STEP/` takes its name when it is complete and on the disk; its state.json says what every file of it
must be.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coeffdream.errors import RunError
from coeffdream.records.adapter_names import CONFIG_FILE
from coeffdream.records.files import read_json, sha256_of_file, sha256_of_json

FORMAT = 2  # 1 had the step and the loss scale alone
STATE_FILE = "state.json"
UNFINISHED = ".unfinished"  # the name of one on its way in or out; one that a kill left behind is replaced
NEWEST = 2  # never make room: should the newest be damaged, the one before it serves


def checkpoint_folder(checkpoints: Path, step: int) -> Path:
    return checkpoints / f"{step:06d}"


def list_checkpoints(checkpoints: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    found = [path.parent for path in checkpoints.glob(f"*/{STATE_FILE}")]
    return sorted((path for path in found if path.name.isdecimal()), key=lambda path: int(path.name))


def steps_kept(checkpoints: Path) -> int:
    """The step of the newest checkpoint; 0 where there is none."""
    there = list_checkpoints(checkpoints)
    return int(there[-1].name) if there else 0


def find_checkpoint(checkpoints: Path, step: int) -> Path:
    """The checkpoint of this step, every file of it as it was written. Raises RunError."""
    folder = checkpoint_folder(checkpoints, step)
    name = checkpoints.parent.name
    if not (folder / STATE_FILE).is_file():
        steps = ", ".join(str(int(path.name)) for path in list_checkpoints(checkpoints))
        raise RunError(
            f"{name} keeps no checkpoint of step {step} ({f'there: {steps}' if steps else 'it keeps none'})"
        )
    try:
        check_state(folder, read_json(folder / STATE_FILE))
    except (ValueError, OSError) as error:
        raise RunError(f"the checkpoint {folder} is damaged ({error}); draw with another one") from None
    return folder


def check_state(checkpoint: Path, saved: Any) -> int:
    """The format of a checkpoint whose files are those that state.json names. Raises ValueError, OSError."""
    if not isinstance(saved, dict) or type(saved.get("step")) is not int:
        raise ValueError(f"{STATE_FILE} says no step")
    if saved["step"] != int(checkpoint.name):
        raise ValueError(f"{STATE_FILE} is that of step {saved['step']}")
    if set(saved) == {"step", "scaler"}:
        return 1
    said = {key: value for key, value in saved.items() if key != "digest"}
    if saved.get("format") != FORMAT:
        raise ValueError(
            f"{STATE_FILE} is of the format {saved.get('format')!r:.20}; this coeffdream reads {FORMAT}"
        )
    if saved.get("digest") != sha256_of_json(said):
        raise ValueError(f"{STATE_FILE} was altered")
    there = {file.name for file in [*checkpoint.glob("*.safetensors"), *checkpoint.glob(CONFIG_FILE)]}
    if there != set(saved["files"]):
        raise ValueError(f"it holds {', '.join(sorted(there))} where {', '.join(saved['files'])} was written")
    for name, identity in saved["files"].items():
        file = checkpoint / name
        if file.stat().st_size != identity["bytes"] or identity_of(file) != identity:
            raise ValueError(f"{name} was altered")
    return FORMAT


def identity_of(file: Path) -> dict[str, Any]:
    """What state.json says of a file."""
    return {"bytes": file.stat().st_size, "sha256": sha256_of_file(file)}


def make_room(checkpoints: Path, most: int) -> None:
    """Remove `superfluous` checkpoints, so that together they take at most so many bytes."""
    sizes = {
        int(folder.name): sum(file.stat().st_size for file in folder.iterdir())
        for folder in list_checkpoints(checkpoints)
    }
    for step in superfluous(sizes, most):
        leaving = checkpoints / UNFINISHED  # at no moment is there one that only looks like a checkpoint
        shutil.rmtree(leaving, ignore_errors=True)
        checkpoint_folder(checkpoints, step).rename(leaving)
        shutil.rmtree(leaving)


def superfluous(sizes: Mapping[int, int], most: int) -> list[int]:
    """The steps that make room until the rest takes at most `most` bytes, first to go first. sizes: bytes by step.

    The next to go is the one whose neighbors (step 0 before the oldest) lie closest together, of equals the
    oldest: so what stays covers the whole training evenly. The newest two always stay.
    """
    kept, gone, taken = sorted(sizes), [], sum(sizes.values())
    while taken > most and len(kept) > NEWEST:
        before = [0, *kept]
        place = min(range(len(kept) - NEWEST), key=lambda at: kept[at + 1] - before[at])
        gone.append(kept.pop(place))
        taken -= sizes[gone[-1]]
    return gone
