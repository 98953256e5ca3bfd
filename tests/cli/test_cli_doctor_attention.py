"""`coeffdream doctor --attention`, and what a run writes down of its attention."""

from __future__ import annotations

import json

from coeffdream.records.run import RunFolder


def test_doctor_shows_the_choice(cli):
    """On a CPU the rule; every layer of SDXL, for a photo and for a picture with and without its prompt."""
    found = json.loads(cli("doctor", "--attention", "--json").out)
    taken = {name: each["backend"] for name, each in found["classes"].items()}
    assert len(taken) == 8
    assert taken["float32 1x10x4096x4096x64"] == "chunked"
    table = cli("doctor", "--attention")
    assert table.status == 0
    assert "float32 2x20x1024x1024x64" in table.out


def test_renew_alone_is_refused(cli):
    answer = cli("doctor", "--renew")
    assert answer.status == 2
    assert "--attention --renew" in answer.err


def test_a_run_says_what_its_attention_took_and_goes_on_with_it(teach, cli, tmp_path, monkeypatch):
    """Half the run forced to one backend, the rest resumed without: the same backend to the end."""
    monkeypatch.setenv("COEFFDREAM_ATTENTION", "flash")
    assert teach("--name", "a", "--steps", 1).status == 0
    monkeypatch.delenv("COEFFDREAM_ATTENTION")
    run = RunFolder(tmp_path / "runs" / "a")
    taken = run.read().attention
    assert taken
    assert set(taken.values()) == {"flash"}
