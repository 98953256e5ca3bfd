"""What the page is made of: the command that repeats a run, thumbnails, curves, heatmaps, words and strips."""

from __future__ import annotations

import base64
import dataclasses
import io
import shlex

import numpy as np
import pytest
from PIL import Image

from coeffdream.compare.result import Estimate
from coeffdream.config import TrainConfig, flag_of
from coeffdream.records.images import SetFolder
from coeffdream.records.measures import DIVERSITY, TEXT_ALIGNMENT
from coeffdream.records.run import Validated
from coeffdream.records.scores import read_scores
from coeffdream.report.commands import train_command
from coeffdream.report.heatmap import heatmaps
from coeffdream.report.plots import loss_curve, nice_ticks, running_mean
from coeffdream.report.readings import cards
from coeffdream.report.strip import strip
from coeffdream.report.thumbnails import thumbnails
from coeffdream.resolve import resolve


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"preset": "quality", "lora_targets": "cross.q"},
        {"gradient_checkpointing": True, "caption": 'my <V> CLASS, it\'s "nice"', "coeff_lr": 1e-4},
        {"preset": "table3", "prior": True, "lr": 3e-4},
    ],
)
def test_the_train_command_makes_the_same_config(chosen, builder):
    """Typed on a base that recommends other values, it still gives this run's config."""
    first = resolve(
        {"concept": "photos", "base": "toybox", **chosen}, {}, {"lr": 1e-3, "batch_size": 4}
    ).config
    builder.trained(config=first)
    line = shlex.split(train_command(builder.folder.read()))
    assert line[:2] == ["coeffdream", "train"]
    named = {flag_of(field.name): field for field in dataclasses.fields(TrainConfig)}
    typed, rest = {}, line[2:]
    while rest:
        flag = rest.pop(0)
        if flag in ("--gradient-checkpointing", "--no-gradient-checkpointing", "--prior"):
            typed[flag.removeprefix("--no-").lstrip("-").replace("-", "_")] = not flag.startswith("--no-")
            continue
        value, kind = rest.pop(0), type(getattr(first, named[flag].name))
        typed[named[flag].name] = kind(value) if kind in (int, float) else value
    again = resolve(typed, {}, {"lr": 7.0, "batch_size": 9, "gradient_checkpointing": True}).config
    name = builder.folder.read().name
    expected = dataclasses.replace(first, concept=again.concept, class_noun="cat", name=name)
    assert again == expected


def test_thumbnails_keep_to_their_budget(tmp_path):
    """Noise, which nothing compresses: the pictures shrink until all of them fit."""
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{index}.png" for index in range(4)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (300, 400, 3), dtype=np.uint8)).save(path)
    roomy = thumbnails(paths, side=320, budget=10**7)
    assert [(each.width, each.height) for each in roomy] == [(320, 240)] * 4
    tight = thumbnails(paths, side=320, budget=160_000)
    assert sum(len(each.uri) for each in tight) * 3 / 4 <= 160_000
    assert len({each.width for each in tight}) == 1
    assert thumbnails([tmp_path / "gone.png"], side=64, budget=1) == [None]


def test_running_mean_by_hand():
    """Of each value and those before it."""
    assert running_mean(np.array([1.0, 3.0, 5.0, 7.0]), 2).tolist() == [1, 2, 4, 6]
    assert running_mean(np.array([2.0, 4.0]), 5).tolist() == [2, 3]


@pytest.mark.parametrize(
    ("high", "ticks"),
    [(1.0, [0, 0.25, 0.5, 0.75, 1]), (0.37, [0, 0.1, 0.2, 0.3, 0.4]), (0.0, [0, 0.25, 0.5, 0.75, 1])],
)
def test_ticks_are_round_and_reach_the_top(high, ticks):
    """Labels a person would have chosen."""
    assert nice_ticks(0.0, high) == pytest.approx(ticks)


def test_loss_curve_needs_two_finite_steps():
    """A null loss (overflow under fp16) is left out; one step is no curve."""
    rows = [{"step": 1, "loss": 0.5}, {"step": 2, "loss": None}, {"step": 3, "loss": 0.3}]
    curve = loss_curve(rows)
    assert curve.points.count("M") == 2
    assert curve.last == pytest.approx(0.4)
    assert curve.prior == ""
    assert loss_curve(rows[:2]) is None


def test_validation_losses_begin_with_the_untouched_base():
    """Drawn over the steps that have them, on the scale of the losses; absent before the first checkpoint."""
    rows = [
        {"step": step, "loss": 0.5, **({"validation_loss": 0.8, "class_loss": 0.2} if step == 3 else {})}
        for step in (1, 2, 3, 4, 5)
    ]
    untouched = Validated(["0.png"], False, 1.0, 0.4)
    curve = loss_curve(rows, untouched)
    assert curve.measured["validation_loss"].path == "M0.0 0.0L500.0 60.0"
    assert (curve.measured["class_loss"].untouched, curve.measured["class_loss"].last) == (0.4, 0.2)
    assert loss_curve(rows[:2], untouched).measured == {}
    assert loss_curve(rows).measured == {}


def test_heatmap_pixels():
    """alpha' - I: nothing is transparent, the largest is opaque, signs differ in colour."""
    [drawn], limit = heatmaps({"mid_block.attn1": np.array([[1.0, -0.2], [0.1, 1.0]])})
    assert limit == pytest.approx(0.2)
    image = Image.open(io.BytesIO(base64.b64decode(drawn.uri.partition(",")[2])))
    pixels = np.asarray(image)
    assert pixels[0, 0, 3] == pixels[1, 1, 3] == 0
    assert pixels[0, 1, 3] == 255
    assert 0 < pixels[1, 0, 3] < 255
    assert pixels[0, 1, 2] > pixels[0, 1, 0]  # blue takes away
    assert pixels[1, 0, 0] > pixels[1, 0, 2]  # warm adds


def test_the_command_that_repeats_it_needs_no_tracker(builder):
    """Where a run was logged is no part of what it learned."""
    record = builder.trained().folder.read()
    logged = dataclasses.replace(record, config=dataclasses.replace(record.config, log_with="wandb"))
    assert train_command(logged) == train_command(record)


@pytest.mark.parametrize(
    ("floor", "ceiling", "text", "concept", "diversity", "said"),
    [
        (None, None, 0.3, 0.5, 5.0, ["", "", "of 16 pictures"]),
        (
            (0.32, 0.4, 10.0),
            0.8,
            0.3,
            0.5,
            5.0,
            [
                "0.020 below the untouched base, which need not look like the photos.",
                "25 % of the way from the untouched base to the photos’ likeness to one another.",
                "50 % fewer different pictures, in effect, than the untouched base draws.",
            ],
        ),
        (
            (0.305, 0.6, 5.01),
            0.8,
            0.3,
            0.5,
            5.0,
            [
                "0.005 below the untouched base, which lies within the interval.",
                "Not above the untouched base: the thing has not been learned.",
                "As many different pictures, in effect, as the untouched base draws.",
            ],
        ),
        (
            (0.2, 0.4, 4.0),
            0.3,
            0.3,
            0.5,
            5.0,
            [
                "0.100 above the untouched base, which need not look like the photos.",
                "0.100 above the untouched base.",
                "25 % more different pictures, in effect, than the untouched base draws.",
            ],
        ),
    ],
)
def test_scores_in_words(floor, ceiling, text, concept, diversity, said, whole_run):
    """Each of the three against the untouched base, and no more than the numbers say."""
    scores = read_scores(SetFolder(whole_run.images / "benchmark").path / "scores.json")
    known = dataclasses.replace(
        scores.overall, text_alignment=text, concept_alignment=concept, diversity=diversity
    )
    names = ("text_alignment", "concept_alignment", "diversity")
    scores = dataclasses.replace(
        scores,
        overall=known,
        floor=dataclasses.replace(known, **dict(zip(names, floor, strict=True))) if floor else None,
        ceiling=dataclasses.replace(known, concept_alignment=ceiling) if ceiling else None,
    )
    estimates = {name: Estimate(getattr(known, name), None, None) for name in names}
    estimates["text_alignment"] = Estimate(text, text - 0.01, text + 0.01)
    assert [card.words for card in cards(scores, estimates)] == said


def test_a_strip_has_a_true_scale():
    """Places follow from the ticks' own values, and a hair's breadth is not drawn as a gulf."""
    drawn = strip(TEXT_ALIGNMENT, {"run": 0.311, "floor": 0.313}, Estimate(0.311, 0.305, 0.317))
    ticks = [(float(label), at) for label, at in drawn.ticks]
    (first, left), (last, right) = ticks[0], ticks[-1]
    assert (left, right) == (0, 100)
    assert last - first >= 0.1 - 1e-9
    for value, at in [
        *ticks,
        (0.311, drawn.marks[0].at),
        (0.313, drawn.marks[1].at),
        (0.305, drawn.low),
        (0.317, drawn.high),
    ]:
        assert at == pytest.approx(100 * (value - first) / (last - first), abs=1e-6)
    bare = strip(DIVERSITY, {"run": 1.0}, None)
    assert (bare.low, bare.high) == (None, None)
    assert float(bare.ticks[0][0]) == 0
