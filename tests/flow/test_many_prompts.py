"""Ten thousand prompts: the first picture comes as soon as that of twenty, and memory stays where it is."""

from __future__ import annotations

import time
from typing import Any

import psutil
import pytest


@pytest.fixture
def measured(begin, tmp_path):
    """Draw the first pictures of so many prompts; seconds to the first one, and the most memory up to the last, in MB."""

    def draw(prompts: int, pictures: int, *options: Any) -> tuple[float, float]:
        file = tmp_path / f"{prompts}.txt"
        file.write_text("".join(f"<V> cat number {number}\n" for number in range(prompts)))
        command = begin("generate", "--prompts", file, "--set", f"of-{prompts}", *options)
        manifest = tmp_path / "runs" / "cat" / "images" / f"of-{prompts}" / "images.jsonl"
        process, most = psutil.Process(command.process.pid), [0.0]
        command.wait_for(manifest.exists)
        first = time.monotonic() - command.started

        def drawn() -> bool:
            most[0] = max(most[0], process.memory_info().rss / 1e6)
            return manifest.read_bytes().count(b"\n") >= pictures

        command.wait_for(drawn)
        command.process.kill()
        return first, most[0]

    return draw


@pytest.mark.slow
def test_ten_thousand_prompts(run, begin, measured, tiny_base, cat_folder, tmp_path):
    """Within seconds, and within a few megabytes for the prompts themselves."""
    runs = tmp_path / "runs"
    train = [
        "--concept",
        cat_folder,
        "--base",
        tiny_base,
        "--steps",
        1,
        "--sample-every",
        0,
        "--device",
        "cpu",
    ]
    run("train", *train, "--runs", runs, "--name", "cat")
    options = ["--images-per-prompt", 4, "--steps", 1, "--no-grid", "--device", "cpu", "--runs", runs]
    few, memory_of_few = measured(20, 70, *options)
    many, memory_of_many = measured(10_000, 800, *options)
    print(f"first picture of 20 prompts after {few:.1f} s, of 10,000 after {many:.1f} s")
    print(f"memory with 20 prompts {memory_of_few:.0f} MB, with 10,000 {memory_of_many:.0f} MB")
    assert many < few + 10
    assert memory_of_many < memory_of_few + 60
