"""Two drivers of one study at a store, on machines that share nothing else."""

from __future__ import annotations

import time

import pytest

from coeffdream.bench import hold
from coeffdream.bench.store import Store
from coeffdream.errors import InUseError
from coeffdream.stopping import Stopped, heard


@pytest.fixture
def address(tmp_path) -> str:
    return f"file://{tmp_path}/bucket"


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(hold, "BEAT", 0.05)


def test_the_second_is_refused(address, tmp_path):
    """Also one on another machine, with a folder of its own."""
    one, two = Store(address, tmp_path / "one"), Store(address, tmp_path / "two")
    with (
        hold.held(one, print),
        pytest.raises(InUseError, match=r"is in use by process \d+ on .* since"),
        hold.held(two, print),
    ):
        pass
    with hold.held(two, print):
        pass
    assert two.read(hold.NOTE) is None


def test_one_that_was_killed(address, tmp_path):
    """Its note stays as it is, and is no reason to wait for ever."""
    store, told = Store(address, tmp_path / "one"), []
    store.write(hold.NOTE, b'{"host": "gone", "pid": 7, "since": "yesterday", "token": "x"}\n')
    with hold.held(store, told.append):
        pass
    assert told == [
        f"{address} was in use by process 7 on gone since yesterday; seeing for 0 s whether it still is"
    ]


def test_one_that_slept(address, tmp_path):
    """Another took over meanwhile: the sleeper stops as if it was asked to, and leaves the other's note alone."""
    store, told = Store(address, tmp_path / "one"), []

    def asleep():
        with heard(), hold.held(store, told.append):
            store.write(hold.NOTE, b'{"host": "b", "pid": 8, "since": "now", "token": "y"}\n')
            time.sleep(60)

    with pytest.raises(Stopped):
        asleep()
    assert told == [f"{address} was taken over by process 8 on b since now; this process stops"]
    assert store.read(hold.NOTE) is not None
