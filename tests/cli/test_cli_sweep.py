"""`coeffdream sweep` and `generate --checkpoint` as they are typed."""

from __future__ import annotations

import json
import shutil


def test_a_run_without_checkpoints(cli, run_of, contents):
    """One line, status 2, and the run as it was."""
    run = run_of()
    shutil.rmtree(run.checkpoints)
    before = contents(run.path)
    answer = cli("sweep", "cat-coeff-lora")
    assert answer.status == 2
    [line] = answer.complaint
    assert line.startswith(
        "error: cat-coeff-lora keeps no checkpoint to sweep; train with --checkpoint-every N"
    )
    assert contents(run.path) == before


def test_what_makes_no_sweep(cli, run_of):
    """All problems in one line, before anything is loaded."""
    run_of()
    answer = cli("sweep", "--prompts", 1, "--lora-scale", "1,fast")
    assert answer.status == 2
    assert "--prompts 1 must be at least 2" in answer.complaint[0] + answer.err
    assert "--lora-scale '1,fast' must be finite numbers" in answer.err


def test_a_step_without_a_checkpoint(cli, run_of, contents):
    run = run_of()
    before = contents(run.path)
    answer = cli("generate", "--checkpoint", 5, "<V> cat", "--device", "cpu")
    assert answer.status == 2
    assert answer.complaint == ["error: cat-coeff-lora keeps no checkpoint of step 5 (there: 1)"]
    assert contents(run.path) == before


def test_a_sweep_ends_with_what_to_draw(cli, run_of, monkeypatch):
    """The table, why a checkpoint is kept, the picture, and the next command; --json prints the record alone."""
    from coeffdream.metrics import encoder_choice
    from coeffdream.metrics.options import ScoringOptions
    from coeffdream.studies import sweep

    embedded = encoder_choice.encoders_for("toybox", ScoringOptions(device="cpu"))
    monkeypatch.setattr(sweep, "encoders_for", lambda base, options, scores: embedded)
    run = run_of()
    quick = ("--prompts", 2, "--steps", 1, "--device", "cpu")
    answer = cli("sweep", *quick)
    assert answer.status == 0, answer.err
    assert "worth" in answer.out
    assert (
        "picture: runs/cat-coeff-lora/sweep.png; every number: runs/cat-coeff-lora/sweep.json" in answer.err
    )
    assert (run.path / "sweep.svg").is_file()
    again = cli("sweep", *quick, "--json")
    assert again.status == 0, again.err
    assert json.loads(again.out)["points"] == json.loads(run.sweep.read_text())["points"]
    kept = json.loads(again.out)["kept"]
    assert ("--checkpoint 1" in answer.err) == (kept is not None)
