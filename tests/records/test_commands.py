"""A printed command, pasted into the same shell, does what the sentence before it says."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

import pytest

from coeffdream.config import TrainConfig
from coeffdream.records.base import BaseRecord
from coeffdream.records.commands import (
    benchmark_command,
    command_line,
    eval_command,
    generate_command,
    name_of,
    of_run,
    report_command,
    resume_command,
)
from coeffdream.records.images import SetRecord, SetSettings
from coeffdream.records.latest import point_latest_at
from coeffdream.records.run import RunFolder, RunRecord, find_run


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of the given name in the given folder, seen from tmp_path."""
    monkeypatch.chdir(tmp_path)

    def made(
        name: str = "cat-lora", runs: str = "runs", status: str = "complete"
    ) -> tuple[RunFolder, RunRecord]:
        folder = RunFolder(tmp_path / runs / name)
        record = RunRecord(
            name,
            status,
            "2026-01-01",
            "lora",
            TrainConfig(base="toybox", concept="cat"),
            BaseRecord("toybox", "toybox", "embedded", "ab12", [0.5]),
            "cat",
            "sks",
        )
        folder.write(record)
        return folder, record

    return made


@pytest.fixture
def made() -> SetRecord:
    """Two prompts given by hand, one with a quote in it."""
    return SetRecord(
        name="cat",
        kind="prompts",
        created="",
        prompts="given",
        templates=["<V> cat", "a <V> cat's $HOME"],
        class_noun="cat",
        images_per_prompt=2,
        settings=SetSettings(
            base=BaseRecord("toybox"),
            adapter={},
            lora_scale=0.5,
            alpha_scale=1.0,
            token="sks",
            seed=3,
            steps=20,
            guidance_scale=3.0,
            negative="-blur",
            size=64,
            scheduler="Euler",
            precision="float32",
        ),
    )


@pytest.mark.parametrize(
    ("name", "runs"),
    [
        ("cat-lora", "runs"),
        ("my cat-lora", "runs"),
        ("cat's", "far away"),
        ("cat", "a/b"),
        ("-x-lora", "runs"),
    ],
)
def test_every_command_finds_its_run(name, runs, run, made):
    """A space or a quote in the name, runs kept elsewhere, a name like an option."""
    folder, record = run(name, runs)
    run("newer")
    lines = [
        resume_command(folder),
        benchmark_command(folder, record),
        generate_command(folder, record, made),
        eval_command(folder, made, None),
        report_command(folder, made),
    ]
    for line in lines:
        words = shlex.split(line)
        assert words[0] == "coeffdream"
        named = (
            words[2]
            if words[1] in ("report", "eval")
            else words[words.index({"train": "--resume"}.get(words[1], "--run")) + 1]
        )
        assert not named.startswith("-")
        assert find_run(named, Path("runs")).path == folder.path.resolve()


def test_a_run_is_named_only_where_it_must_be(run):
    """The latest run in ./runs is found by itself; every other one is named."""
    older, _ = run("older")
    latest, _ = run("newest")
    far, _ = run("cat", "far")
    point_latest_at(latest.path)
    point_latest_at(far.path)
    assert of_run(latest) == []
    assert of_run(older) == ["--run", "older"]
    assert of_run(far) == ["--run", "far/cat"]
    assert name_of(older) == "older"


def test_a_set_is_drawn_again_as_it_was(run, made):
    """Every setting that a base or a later version might choose otherwise is in the line."""
    folder, record = run()
    words = shlex.split(generate_command(folder, record, made))
    assert words[-3:] == ["--", "<V> cat", "a <V> cat's $HOME"]
    for flag, value in (("--seed", "3"), ("--steps", "20"), ("--negative", "-blur"), ("--lora-scale", "0.5")):
        assert words[words.index(flag) + 1] == value
    assert words[words.index("--set") + 1] == "cat"


def test_a_run_of_the_base_is_made_by_its_base(run, made):
    """It has no name that generate would take."""
    folder, record = run("base-toybox", "far", status="base")
    words = shlex.split(generate_command(folder, record, made))
    assert "--run" not in words
    assert words[words.index("--base") + 1] == "toybox"
    assert words[words.index("--runs") + 1] == "far"


def test_words_are_quoted():
    """As a shell takes them."""
    assert shlex.split(command_line("generate", "<V> cat; rm -rf $HOME")) == [
        "coeffdream",
        "generate",
        "<V> cat; rm -rf $HOME",
    ]


def test_a_run_of_several_is_drawn_by_its_parts(run, made):
    """Weights as they were, to the last digit; its untouched base by its own name."""
    from coeffdream.records.run import Part

    cat, _ = run("cat")
    dog, _ = run("dog", "far away")
    folder, record = run("cat-and-dog", "far away", status="several")
    parts = [Part(each.path.name, str(each.path), "lora", "cat", "sks", {}) for each in (cat, dog)]
    record = dataclasses.replace(record, parts=parts)
    settings = dataclasses.replace(made.settings, weights={"cat": 1.0, "dog": 0.1234567})
    words = shlex.split(generate_command(folder, record, dataclasses.replace(made, settings=settings)))
    first = words.index("--adapter")
    assert words[first : first + 4] == ["--adapter", "cat", "--adapter", "far away/dog:0.1234567"]
    assert words[words.index("--runs") + 1] == "far away"
    assert "--run" not in words
    line = shlex.split(benchmark_command(folder, record))
    assert line == [
        "coeffdream",
        "generate",
        "--adapter",
        "cat",
        "--adapter",
        "far away/dog",
        "--runs",
        "far away",
    ]
    floor = shlex.split(generate_command(folder, record, made, no_adapter=True))
    assert floor[floor.index("--run") + 1] == "far away/cat-and-dog"
