"""One run in two processes, as a launcher starts them: what is learned, drawn and scored is what one process makes of it."""

from __future__ import annotations

import json
import signal
import socket

import numpy as np
import pytest

from coeffdream.data.shipped import shipped

TRAIN = ["--base", "toybox", "--device", "cpu", "--steps", 6, "--checkpoint-every", 3, "--sample-every", 0]
TRAIN += ["--name", "cat", "--coeff-dropout", 0.5]
# Four photos a step, two of them at a time: one after the other, or in two processes.
IN_TURN, AT_ONCE = ["--batch-size", 2, "--grad-accum", 2], ["--batch-size", 4]


@pytest.fixture
def launch(begin, monkeypatch):
    """Begin a command in `count` processes, with the environment that torchrun and accelerate launch give them."""

    def start(count, *arguments):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        started = []
        for index in range(count):
            told = {"RANK": index, "LOCAL_RANK": index, "WORLD_SIZE": count, "MASTER_PORT": port}
            for name, value in {**told, "MASTER_ADDR": "127.0.0.1"}.items():
                monkeypatch.setenv(name, str(value))
            started.append(begin(*arguments))
        for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT", "MASTER_ADDR"):
            monkeypatch.delenv(name)
        return started

    return start


@pytest.fixture
def go(launch):
    """Run a command in so many processes to its good end; all but the first print nothing."""

    def to_its_end(count, *arguments):
        started = launch(count, *arguments)
        assert [each.wait() for each in started] == [0] * count, [each.printed for each in started]
        assert all(each.printed == "" for each in started[1:])

    return to_its_end


def log_of(run):
    return [json.loads(line) for line in (run / "train.jsonl").read_text().splitlines()]


def test_two_are_as_one(go, trained, drawn, tmp_path):
    """Losses and adapter at one global batch, within 1e-5; then the same pictures and scores to the byte.

    Where one process sends all four photos through the UNet at once, rounding differs, and Adam makes a share of the
    rate of it where a gradient is next to nothing.
    """
    concept = ["--concept", shipped("concepts/cat")]
    one, two = tmp_path / "one", tmp_path / "two"
    go(1, "train", *concept, *TRAIN, *IN_TURN, "--runs", one)
    go(2, "train", *concept, *TRAIN, *AT_ONCE, "--runs", two)
    rows, others = log_of(one / "cat"), log_of(two / "cat")
    for same in ("step", "photos", "timesteps", "lr"):
        assert [row[same] for row in rows] == [row[same] for row in others]
    for near in ("loss", "lora_grad", "alpha_grad"):
        np.testing.assert_allclose([row[near] for row in rows], [row[near] for row in others], atol=1e-5)
    mine, theirs = trained(one / "cat")["adapter"], trained(two / "cat")["adapter"]
    assert mine.keys() == theirs.keys()
    for file in mine:
        assert mine[file].keys() == theirs[file].keys()
        for name in mine[file]:
            pair = (np.frombuffer(each[file][name], np.float32) for each in (mine, theirs))
            np.testing.assert_allclose(*pair, atol=1e-5)

    prompts = ["<V> cat in snow", "<V> cat on a beach", "a red <V> cat"]
    draw = [
        "generate",
        *prompts,
        "--images-per-prompt",
        3,
        "--steps",
        2,
        "--batch-size",
        2,
        "--device",
        "cpu",
    ]
    for count in (1, 2):
        name = ["--run", two / "cat", "--set", f"by-{count}"]
        go(count, *draw, *name)
        go(count, "eval", two / "cat", "--set", f"by-{count}", "--device", "cpu", "--batch-size", 4)
    sets = [drawn(two / "cat" / "images" / f"by-{count}") for count in (1, 2)]
    assert sets[0] == sets[1]
    scores = [
        json.loads((two / "cat" / "images" / f"by-{count}" / "scores.json").read_text()) for count in (1, 2)
    ]
    assert scores[0]["per_image"] == scores[1]["per_image"]
    assert scores[0]["overall"] == scores[1]["overall"]
    assert {path.name for path in two.iterdir()} == {"cat", "latest"}


def test_a_stop_of_one_is_a_stop_of_all(launch, go, trained, tmp_path):
    """SIGTERM reaches one process alone: all end after the same step, and the run goes on in another number of them."""
    concept = ["--concept", shipped("concepts/cat"), *TRAIN, *AT_ONCE]
    started = launch(2, "train", *concept, "--runs", tmp_path, "--steps", 400)
    started[0].wait_for(lambda: (tmp_path / "cat" / "checkpoints" / "000003").is_dir())
    started[1].signal(signal.SIGTERM)
    assert started[1].wait() == 143
    assert started[0].wait() in (130, 143)
    done = json.loads((tmp_path / "cat" / "run.json").read_text())["steps_done"]
    assert 3 <= done < 400
    assert len(log_of(tmp_path / "cat")) == done
    go(1, "train", "--resume", tmp_path / "cat", "--steps", done + 2)
    go(2, "train", "--resume", tmp_path / "cat", "--steps", done + 4)
    assert len(trained(tmp_path / "cat")["log"]) == done + 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["train", *TRAIN, "--batch-size", 3],
            "--batch-size 3 cannot be shared by 2 processes; give a multiple of 2",
        ),
        (["bench", "concepts", "cat"], "several processes cannot share bench, only train, generate, eval"),
    ],
)
def test_what_cannot_be_shared(arguments, said, launch, tmp_path):
    """One line of each process, which is told apart from the first one's; nothing is left."""
    concept = (
        ["--concept", shipped("concepts/cat"), "--runs", tmp_path / "runs"] if arguments[0] == "train" else []
    )
    first, second = launch(2, *arguments, *concept)
    assert [each.wait() for each in (first, second)] == [2, 2]
    assert said in first.error
    assert second.printed.startswith(f"process 1: error: {said}")
    assert not (tmp_path / "runs").exists()
