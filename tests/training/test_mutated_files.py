"""Adapters and checkpoints, mutated at random: each loads as it was, or is refused in one line.

5,000 files: pytest -m slow tests/training/test_mutated_files.py
"""

from __future__ import annotations

import json
import random
import resource
import shutil
import time
from pathlib import Path

import pytest
import torch

from coeffdream.adapters.files import load_adapter
from coeffdream.errors import UserError
from coeffdream.records.checkpoints import STATE_FILE, list_checkpoints
from coeffdream.records.run import COEFF_FILE, LORA_FILE
from coeffdream.training.checkpoint import OPTIMIZER_FILE, restore_checkpoint

SLOWEST, MOST_MEMORY = 5.0, 1 << 30  # seconds, bytes


def mutated(dice: random.Random, content: bytes, other: bytes) -> bytes:
    """`content` with one to three things wrong with it; `other` is a file of the same kind."""
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        content = dice.choice((_bytes, _bytes, _header))(dice, content, other)
    return content


def _bytes(dice: random.Random, content: bytes, other: bytes) -> bytes:
    """What a disk, a network or an editor does."""
    made = bytearray(content)
    here, there = (dice.randrange(len(made) + 1) for _ in range(2))
    span = dice.choice((1, 4, 64, 1000))
    kind = dice.randrange(9)
    if kind == 0 and made:
        made[here % len(made)] ^= 1 << dice.randrange(8)
    elif kind == 1 and made:
        made[here % len(made)] = dice.randrange(256)
    elif kind == 2:
        del made[here:]
    elif kind == 3:
        made += bytes(span)
    elif kind == 4:
        del made[here : here + span]
    elif kind == 5:
        made[here:here] = dice.randbytes(span)
    elif kind == 6:
        made[here : here + span] = bytes(len(made[here : here + span]))
    elif kind == 7:
        made[here : here + span] = other[here : here + span]
    else:
        made[here : here + 4], made[there : there + 4] = made[there : there + 4], made[here : here + 4]
    return bytes(made)


def _header(dice: random.Random, content: bytes, other: bytes) -> bytes:
    """What a person or a program does that knows the format: the JSON is valid, what it says is not."""
    length = int.from_bytes(content[:8], "little")
    is_json = content[:1] == b"{"
    text, data = (content, b"") if is_json else (content[8 : 8 + length], content[8 + length :])
    try:
        value = json.loads(text)
        _edit(dice, value)
        text = json.dumps(value).encode()
    except (ValueError, RecursionError):
        return other
    return text if is_json else len(text).to_bytes(8, "little") + text + data


def _edit(dice: random.Random, value: object) -> None:
    """Change one thing somewhere in a JSON value."""
    keys = (
        list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    )
    if not keys:
        return
    key = dice.choice(keys)
    inner = value[key]
    if isinstance(inner, (dict, list)) and dice.random() < 0.8:
        _edit(dice, inner)
    elif isinstance(inner, str) and inner[:1] in "{[" and dice.random() < 0.7:
        nested = json.loads(inner)
        _edit(dice, nested)
        value[key] = json.dumps(nested)
    elif isinstance(value, dict) and dice.random() < 0.3:
        del value[key]
        if dice.random() < 0.5:
            value[dice.choice((key + "x", "unet.x", "__metadata__"))] = inner
    else:
        odd = [0, -1, 1, 3, 1 << 40, 1 << 70, 0.5, 1e300, True, None, "", "F16", "I32", "1", [], {}, [[]]]
        value[key] = dice.choice([*odd, value[dice.choice(keys)]])


class Bench:
    """An adapter and a checkpoint of known content, and the way to load whatever became of their files."""

    def __init__(self, options, learn, session, folder: Path) -> None:
        runs = [learn(options(steps=2, checkpoint_every=1, lr=0.05, seed=seed)) for seed in (0, 1)]
        self.folder = folder
        self.files = []
        whole = (LORA_FILE, COEFF_FILE, OPTIMIZER_FILE, STATE_FILE)
        for kind, names in (("adapter", whole[:2]), ("checkpoint", whole)):
            one, other = (
                run.adapter if kind == "adapter" else list_checkpoints(run.checkpoints)[-1] for run in runs
            )
            shutil.copytree(one, folder / kind / one.name)
            self.files += [(folder / kind / one.name / name, (other / name).read_bytes()) for name in names]
        self.ready = session(options(lr=0.05))
        self.loader = session(options(lr=0.05))
        self.loader.state.adapter.uninstall()
        self.expected = {kind: self.content(kind) for kind in ("adapter", "checkpoint")}

    def content(self, kind: str) -> dict[str, bytes]:
        """Everything that loading gives, to the bit. Raises UserError."""
        [folder] = (self.folder / kind).iterdir()
        architecture = self.ready.components.architecture
        if kind == "adapter":
            adapter = load_adapter(self.loader.components.unet, folder, architecture)
            tensors = {name: value.detach().numpy().tobytes() for name, value in adapter.trainable.items()}
            said = repr(adapter.spec).encode()
            adapter.uninstall()
            return {**tensors, "spec": said}
        state = self.ready.state
        state.step = -1
        state.optimizer.state.clear()
        with torch.no_grad():
            for parameter in state.adapter.trainable.values():
                parameter.zero_()
        restore_checkpoint(folder, state, architecture)
        tensors = {name: value.detach().numpy().tobytes() for name, value in state.adapter.trainable.items()}
        for name, parameter in state.adapter.trainable.items():
            tensors |= {
                f"{name}|{key}": value.numpy().tobytes()
                for key, value in state.optimizer.state[parameter].items()
            }
        return {
            **tensors,
            "step": str(state.step).encode(),
            "scaler": repr(state.scaler.state_dict()).encode(),
        }


def walk(bench: Bench, count: int, seed: int) -> dict[str, int]:
    """Load `count` mutated files; how many loaded as they were, and how many were refused."""
    dice, outcome = random.Random(seed), {"equal": 0, "refused": 0}
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(count):
        file, other = dice.choice(bench.files)
        whole = file.read_bytes()
        file.write_bytes(mutated(dice, whole, other))
        kind, what = file.parents[1].name, f"seed {seed}, file {number}, {file.name}"
        began = time.perf_counter()
        content, complaint = None, None
        try:
            content = bench.content(kind)
        except UserError as error:
            complaint = error
        if complaint is None:
            assert content == bench.expected[kind], f"{what}: loaded with another content"
            outcome["equal"] += 1
        else:
            assert complaint.exit_status == 2
            assert "\n" not in str(complaint), what
            assert len(str(complaint)) < 2000, what
            outcome["refused"] += 1
        assert time.perf_counter() - began < SLOWEST, what
        file.write_bytes(whole)
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory)
    assert grown < MOST_MEMORY
    assert all(bench.content(kind) == bench.expected[kind] for kind in bench.expected)
    return outcome


def test_a_hundred_mutated_files(options, learn, session, tmp_path):
    """None is accepted with another content, none ends in a traceback."""
    outcome = walk(Bench(options, learn, session, tmp_path / "bench"), 100, seed=random.randrange(1 << 32))
    assert outcome["refused"] > 50


@pytest.mark.slow
def test_five_thousand_mutated_files(options, learn, session, tmp_path, capsys):
    """The same, long enough to find what is rare."""
    seed = random.randrange(1 << 32)
    outcome = walk(Bench(options, learn, session, tmp_path / "bench"), 5000, seed)
    with capsys.disabled():
        print(f"\nseed {seed}: {outcome}")
