"""`coeffdream study` through the command line."""

from __future__ import annotations

import json


def test_expressiveness(cli, tmp_path):
    """A table for people, numbers for machines, figure and numbers on disk; bad options are refused in one line."""
    given = ("study", "expressiveness", "--seeds", 2, "--steps", 3, "--out", "study")
    shown = cli(*given)
    assert shown.status == 0
    assert "W_q, W_k, alpha" in shown.out
    assert "figure: study/figure.png" in shown.err
    numbers = json.loads(cli(*given, "--json").out)
    assert numbers == json.loads((tmp_path / "study" / "numbers.json").read_text())
    assert numbers["options"] == {"seeds": 2, "heads": 2, "steps": 3, "lr": 0.05}
    assert sorted(path.name for path in (tmp_path / "study").iterdir()) == [
        "figure.png",
        "figure.svg",
        "numbers.json",
    ]
    refused = cli("study", "expressiveness", "--heads", 33)
    assert (refused.status, len(refused.complaint)) == (2, 1)


def test_heads(cli, tmp_path, monkeypatch):
    """Numbers of heads in order, a figure, and the same numbers printed and kept."""
    from coeffdream.studies import head_costs

    one = head_costs.model_costs()[:1]
    monkeypatch.setattr(head_costs, "model_costs", lambda: one)
    small = ("--heads", "4,2", "--width", 8, "--tokens", 4, "--repeats", 1, "--seeds", 2, "--steps", 3)
    shown = cli("study", "heads", *small)
    assert shown.status == 0
    assert "SDXL's UNet" in shown.out
    assert "study-heads/figure.png" in shown.out + shown.err
    numbers = json.loads(cli("study", "heads", *small, "--json").out)
    assert [each["heads"] for each in numbers["timings"]] == [2, 4]
    assert len(numbers["expressed"]) == 6
    assert numbers["tuned"] == []
    assert numbers == json.loads((tmp_path / "study-heads" / "numbers.json").read_text())


def test_heads_of_a_task(cli, tmp_path, monkeypatch):
    """With each number of heads a backbone of its own is tuned, H^2 coefficients in each of its four layers."""
    from coeffdream.studies import head_costs, heads_tuned
    from coeffdream.studies.vit_options import VitOptions

    one = head_costs.Cost("one", 1, 4, 16, 100, 16, 20, 0.125)
    monkeypatch.setattr(head_costs, "model_costs", lambda: [one])

    def tiny(**given):
        few = {"epochs": 1, "train_images": 8, "test_images": 4, "pretrain_images": 8, "pretrain_epochs": 1}
        return VitOptions(**{**given, **few, "seeds": 1})

    monkeypatch.setattr(heads_tuned, "VitOptions", tiny)
    small = ("--heads", "8,2", "--width", 8, "--tokens", 4, "--repeats", 1, "--seeds", 2, "--steps", 3)
    shown = cli("study", "heads", *small, "--task", "place")
    assert shown.status == 0, shown.err
    assert "alpha adds" in shown.out
    tuned = json.loads((tmp_path / "study-heads" / "numbers.json").read_text())["tuned"]
    assert [(each["heads"], each["arms"]["coeff"]["parameters"]) for each in tuned] == [(2, 16), (8, 256)]
    assert all(set(each["arms"]["coeff"]["gained"]) == {"place"} for each in tuned)
    config = json.loads((tmp_path / "study-heads/tuned/8/backbone/config.json").read_text())
    assert config["num_attention_heads"] == 8


def test_heads_that_do_not_divide_the_width(cli, tmp_path):
    answer = cli("study", "heads", "--heads", "3")
    assert answer.status == 2
    assert answer.complaint == [
        "error: this makes no study: --heads 3 must be from 1 to 32 and divide --width 512"
    ]
    assert not list(tmp_path.iterdir())


def test_vit(cli, tmp_path):
    """Accuracies and gains for people, numbers for machines; asked again it trains nothing; refusals in one line."""
    given = ("study", "vit", "--tasks", "place", "--arms", "linear,coeff", "--seeds", 3, "--epochs", 1)
    given += ("--train-images", 8, "--test-images", 4, "--pretrain-images", 8, "--pretrain-epochs", 1)
    shown = cli(*given)
    assert shown.status == 0, shown.err
    assert "with alpha" in shown.out
    assert " ± " in shown.out
    assert "figure: study-vit/figure.png" in shown.err
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "study-vit" / "cells").iterdir()}
    numbers = json.loads(cli(*given, "--json").out)
    assert numbers == json.loads((tmp_path / "study-vit" / "numbers.json").read_text())
    assert numbers["arms"]["coeff"]["parameters"] == 4 * 4 * 4
    assert numbers["arms"]["coeff"]["gained"]["place"]["low"] is not None
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "study-vit" / "cells").iterdir()}
    for wrong in (("--epochs", 2), ("--arms", "none"), ("--out", "study-vit/study.json")):
        refused = cli(*given, *wrong)
        assert (refused.status, len(refused.complaint)) == (2, 1)


def test_ablation(cli, tmp_path):
    """Every arm against the usual alpha, with p values; the same numbers printed and kept."""
    given = ("study", "ablation", "--tasks", "place", "--arms", "residual,groups-2", "--seeds", 3)
    given += ("--train-images", 8, "--test-images", 4, "--pretrain-images", 8, "--pretrain-epochs", 1)
    given += ("--epochs", 1)
    shown = cli(*given)
    assert shown.status == 0, shown.err
    assert "against residual" in shown.out
    numbers = json.loads(cli(*given, "--json").out)
    assert numbers == json.loads((tmp_path / "study-ablation" / "numbers.json").read_text())
    assert numbers["arms"]["groups-2"]["against"] == "residual"
    assert numbers["arms"]["groups-2"]["p_holm"] is not None
    assert (tmp_path / "study-ablation" / "figure.svg").is_file()
    refused = cli("study", "vit", *given[2:4], "--out", "study-ablation", "--arms", "linear")
    assert (refused.status, len(refused.complaint)) == (2, 1)


def test_vqa(cli, tmp_path):
    """Answers and gains for people, with the number of coefficients; numbers for machines; a refusal in one line."""
    given = ("study", "vqa", "--arms", "lora,coeff-lora", "--seeds", 3, "--epochs", 1, "--train-pictures", 2)
    given += ("--test-pictures", 3, "--pretrain-pictures", 2, "--pretrain-epochs", 1)
    shown = cli(*given)
    assert shown.status == 0, shown.err
    assert "with alpha" in shown.out
    assert "alpha: 96 coefficients in 6 attention layers" in shown.out + shown.err
    numbers = json.loads(cli(*given, "--json").out)
    assert numbers == json.loads((tmp_path / "study-vqa" / "numbers.json").read_text())
    assert numbers["arms"]["coeff-lora"]["gained"]["where"]["low"] is not None
    assert {each["rank"] for each in numbers["trainings"]} == {10}
    refused = cli(*given, "--batch-size", 2)
    assert (refused.status, len(refused.complaint)) == (2, 1)
