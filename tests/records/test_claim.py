"""Claims: one process at a time, the second told in one line, and nothing kept by the dead."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import filelock
import pytest

from coeffdream.errors import InUseError, RunError
from coeffdream.records import claim as claims
from coeffdream.records.claim import (
    attempt,
    claimed,
    confirm,
    create_json,
    in_turn,
    is_free,
    is_held,
    is_husk,
)
from coeffdream.records.files import read_json

HOLDS = """
import sys, time
from pathlib import Path
from coeffdream.records.claim import attempt
assert attempt(Path(sys.argv[1]), "train")
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def neighbour():
    """Another process that holds a folder until the test kills it."""
    started = []

    def hold(folder):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDS, str(folder)], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.communicate()


def hold(folder):
    return claimed(folder, "generate", "the set cat", "wait, or give --set")


@pytest.mark.parametrize("without", ["nothing", "locks"])
def test_the_second_comer_is_told_who_and_since_when(tmp_path, neighbour, monkeypatch, without):
    """One line with the holder's pid, the time and the command; on a disk that knows no locks as well."""
    folder = tmp_path / "cat"
    if without == "locks":

        def refused(self):
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")

        monkeypatch.setattr(filelock.FileLock, "_acquire", refused)
        first = attempt(folder, "train")
        pid = os.getpid()
    else:
        first, pid = neighbour(folder), 0
        pid = first.pid
    with pytest.raises(InUseError) as caught, hold(folder):
        pass
    assert str(caught.value).startswith(f"the set cat is in use by process {pid} since 20")
    assert str(caught.value).endswith("(train); wait, or give --set")
    assert caught.value.exit_status == 2
    if without == "locks":
        first.release()
        with hold(folder):
            pass
        assert not folder.exists()


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system cannot stop a process")
def test_a_killed_process_keeps_nothing(tmp_path, neighbour):
    """SIGKILL frees the folder and leaves a husk; a process that is only stopped keeps it."""
    folder = tmp_path / "cat"
    process = neighbour(folder)
    process.send_signal(signal.SIGSTOP)
    assert is_held(folder)
    assert attempt(folder, "train") is None
    process.kill()
    process.wait()
    assert not is_held(folder)
    assert is_husk(folder)
    with hold(folder):
        assert is_held(folder)


def test_nothing_is_left_of_a_claim(tmp_path):
    """The lock and its note go; so do folders that the claim had to make and that nothing came of."""
    with hold(tmp_path / "runs" / "cat" / "images" / "snow"):
        pass
    assert list(tmp_path.iterdir()) == []
    with hold(tmp_path / "runs" / "cat") as claim:
        (claim.folder / "run.json").write_text("{}")
    assert [path.name for path in (tmp_path / "runs" / "cat").iterdir()] == ["run.json"]


def test_a_folder_that_was_replaced_is_not_written_to(tmp_path):
    """Removed while work went on in it, and perhaps made anew by another: neither its state nor its lock is touched."""
    folder = tmp_path / "cat"
    first = attempt(folder, "train")
    confirm(folder)
    shutil.rmtree(folder)
    with pytest.raises(RunError, match="was removed or replaced while it was being worked in"):
        confirm(folder)
    second = claims.attempt(folder, "train")
    note = read_json(folder / claims.HOLDER)
    first.release()
    assert read_json(folder / claims.HOLDER) == note
    assert is_held(folder)
    second.release()


def test_who_never_claimed_is_not_asked(tmp_path):
    """`confirm` is for the holder; a program of one's own may call the stages without."""
    confirm(tmp_path)


@pytest.mark.parametrize("links", [True, False])
def test_one_of_many_creates_the_file(tmp_path, monkeypatch, links):
    """The settings of a set are written once and whole; with hard links whoever comes second has no say."""
    if not links:

        def refused(*_):
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refused)
    file = tmp_path / "set.json"
    barrier = threading.Barrier(8)

    def create(number):
        barrier.wait()
        with claimed(tmp_path, "generate", "", "") if not links else hold(tmp_path / str(number)):
            return create_json(file, {"number": number})

    def tried(number):
        try:
            return create(number)
        except InUseError:
            return False

    with ThreadPoolExecutor(8) as pool:
        won = [number for number, first in enumerate(pool.map(tried, range(8))) if first]
    assert len(won) == 1
    assert read_json(file) == {"number": won[0]}
    assert [path.name for path in tmp_path.iterdir()] == ["set.json"]


def test_whether_a_folder_is_free(tmp_path, neighbour):
    """Not while a stage of a killed study is still at work somewhere in the run."""
    process = neighbour(tmp_path / "cat" / "images" / "snow")
    assert not is_free(tmp_path / "cat")
    process.kill()
    process.wait()
    assert is_free(tmp_path / "cat")
    assert is_free(tmp_path / "nowhere")


def test_in_turn(tmp_path, neighbour):
    """Who comes second waits, and then has it."""
    process = neighbour(tmp_path / "cat")
    threading.Timer(0.2, process.kill).start()
    with in_turn(tmp_path / "cat", "encoding") as claim:
        assert process.poll() is not None
        assert claim.is_ours()


@pytest.mark.parametrize(
    ("made", "husk"),
    [
        ([], True),
        ([".lock", ".holder.json", ".run.json.abcd.json"], True),
        (["images/snow/.lock"], True),
        (["run.json"], False),
        (["notes.txt"], False),
        (["checkpoints/000001/state.json"], False),
    ],
)
def test_what_a_killed_process_leaves(tmp_path, made, husk):
    """Only what a claim itself leaves behind may be taken over; anything else is somebody's."""
    for name in made:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    assert is_husk(tmp_path) == husk


def test_a_note_that_cannot_be_read(tmp_path):
    """A holder that just took the lock, or whose note is garbage, is still a holder."""
    claim = attempt(tmp_path / "cat", "train")
    (tmp_path / "cat" / claims.HOLDER).write_text("[")
    with (
        pytest.raises(InUseError, match="the set cat is in use by another process; wait"),
        hold(tmp_path / "cat"),
    ):
        pass
    claim.lock.release()


def test_what_a_killed_process_left_half_written_goes(tmp_path):
    """With the next claim: temporary files of any name, but those that eval or report may be writing just now."""
    folder = tmp_path / "set"
    (folder / "adapter").mkdir(parents=True)
    litter = [
        "..set.a0c559b1.ea9c14c9.json",
        ".00-0-cat.0123abcd.png",
        ".images.89abcdef.jsonl",
        ".sheet.00000000.jpg",
    ]
    litter += ["adapter/.weights.0123abcd.safetensors"]
    kept = [
        "set.json",
        "00-0-cat.0123abcd.png",
        ".scores.0123abcd.json",
        ".report.0123abcd.html",
        ".DS_Store",
    ]
    for name in [*litter, *kept]:
        (folder / name).write_text("")
    claim = attempt(folder, "generate")
    assert claim is not None
    claim.release()
    assert sorted(path.name for path in folder.iterdir()) == sorted([*kept, "adapter"])
    assert not any((folder / "adapter").iterdir())
