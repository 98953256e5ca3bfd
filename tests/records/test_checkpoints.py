"""Which checkpoints stay: all that the space allows, spread over the whole training, the newest two always."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coeffdream.errors import RunError
from coeffdream.records.checkpoints import (
    STATE_FILE,
    UNFINISHED,
    checkpoint_folder,
    find_checkpoint,
    list_checkpoints,
    make_room,
    superfluous,
)

EVERY_HUNDRED = {100 * number: 1 for number in range(1, 9)}


def kept(sizes: dict[int, int], most: int) -> list[int]:
    return sorted(set(sizes) - set(superfluous(sizes, most)))


@pytest.mark.parametrize(
    ("most", "left"),
    [
        (8, [100, 200, 300, 400, 500, 600, 700, 800]),
        (7, [200, 300, 400, 500, 600, 700, 800]),
        (5, [200, 400, 600, 700, 800]),
        (3, [400, 700, 800]),
        (2, [700, 800]),
        (0, [700, 800]),
    ],
)
def test_what_stays(most, left):
    """First every other one from the oldest on, then every other one of those; never the newest two."""
    assert kept(EVERY_HUNDRED, most) == left


@given(st.dictionaries(st.integers(1, 10_000), st.integers(1, 100), max_size=12), st.integers(0, 600))
def test_whatever_the_sizes(sizes, most):
    """The bound holds unless two are left, the newest two stay, and nothing goes that need not."""
    gone = superfluous(sizes, most)
    rest = set(sizes) - set(gone)
    assert len(set(gone)) == len(gone)
    assert rest >= set(sorted(sizes)[-2:])
    assert sum(sizes[step] for step in rest) <= most or len(rest) <= 2
    if gone:
        assert sum(sizes[step] for step in {*rest, gone[-1]}) > most


def test_removing_them(tmp_path):
    """Those that stay keep every byte; one that a kill left on its way out is no checkpoint, and goes."""
    for step in EVERY_HUNDRED:
        folder = checkpoint_folder(tmp_path, step)
        folder.mkdir()
        (folder / STATE_FILE).write_bytes(b"x" * 10)
    (tmp_path / UNFINISHED).mkdir()
    (tmp_path / UNFINISHED / STATE_FILE).write_bytes(b"x")
    make_room(tmp_path, 59)
    assert [int(folder.name) for folder in list_checkpoints(tmp_path)] == [200, 400, 600, 700, 800]
    assert not (tmp_path / UNFINISHED).exists()
    assert {path.read_bytes() for path in tmp_path.glob("*/*")} == {b"x" * 10}


def test_a_step_without_a_checkpoint(tmp_path):
    """The line says which there are."""
    checkpoints = tmp_path / "cat" / "checkpoints"
    with pytest.raises(RunError, match=r"cat keeps no checkpoint of step 5 \(it keeps none\)"):
        find_checkpoint(checkpoints, 5)
    for step in (100, 200):
        folder = checkpoint_folder(checkpoints, step)
        folder.mkdir(parents=True)
        (folder / STATE_FILE).write_text("{}")
    with pytest.raises(RunError, match=r"no checkpoint of step 5 \(there: 100, 200\)"):
        find_checkpoint(checkpoints, 5)
    with pytest.raises(RunError, match=r"000100 is damaged \(state.json says no step\)"):
        find_checkpoint(checkpoints, 100)
