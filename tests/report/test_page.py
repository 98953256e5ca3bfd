"""What stands on the report's page, read as HTML; test_page_browser.py opens it in a browser."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import re
import shlex

import numpy as np
import pytest
from PIL import Image

from coeffdream.compare.comparison import compare
from coeffdream.compare.pairing import pair_runs
from coeffdream.compare.result import Estimate
from coeffdream.compare.scored import load_runs
from coeffdream.config import TrainConfig, flag_of
from coeffdream.errors import RunError
from coeffdream.records.environment import Machine
from coeffdream.records.fields import record_to_json
from coeffdream.records.files import read_json, write_json, write_jsonl
from coeffdream.records.images import SetFolder
from coeffdream.records.measures import DIVERSITY, TEXT_ALIGNMENT
from coeffdream.records.run import HubRecord, Parameters, Validated
from coeffdream.records.scores import read_scores
from coeffdream.report.commands import train_command
from coeffdream.report.heatmap import heatmaps
from coeffdream.report.page import write_report
from coeffdream.report.plots import loss_curve, nice_ticks, running_mean
from coeffdream.report.readings import cards
from coeffdream.report.strip import strip
from coeffdream.report.thumbnails import thumbnails
from coeffdream.resolve import resolve


@pytest.fixture
def page(reading):
    def read(run, **options):
        return reading(write_report(run, **options)[0].read_text(encoding="utf-8"))

    return read


def test_everything_of_a_whole_run(page, whole_run):
    """Every section is there, and the figures are the records' own."""
    seen = page(whole_run)
    assert seen.sections == {
        "glance",
        "scores",
        "pictures",
        "cases",
        "training",
        "coefficients",
        "settings",
        "again",
    }
    for words in (
        "0.311",
        "0.744",
        "9.87",
        "n = 16",
        "embedded scorers: not comparable with published numbers",
    ):
        assert words in seen.text
    assert "+0.134 against the untouched base" in seen.text
    assert "photos among themselves: 1.90, of n = 3, so not comparable" in seen.text
    assert "64 % of the way" in seen.text  # (0.744 - 0.61) / (0.82 - 0.61)
    assert "one photo is small" in seen.text
    assert "not finished" not in seen.text


def test_scores_have_their_intervals(page, whole_study):
    """A run's intervals are those of its row in `coeffdream compare`; how they were made stands beside them."""
    cell, other = whole_study.read().cells[:2]
    pairing = pair_runs(load_runs([cell.name, other.name], whole_study.runs))
    row = compare(pairing).rows[0].scores
    seen = page(whole_study.run(cell))
    for metric, digits in (("text_alignment", 3), ("concept_alignment", 3), ("diversity", 2)):
        assert f"[{row[metric].low:.{digits}f}, {row[metric].high:.{digits}f}], n = 8" in seen.text
    assert "drawn anew 2,000 times" in seen.text
    assert "delete-one-prompt jackknife" in seen.text


def test_an_incomplete_set_has_no_intervals(page, builder):
    """Prompts with unequal counts cannot be resampled; the page is made all the same."""
    builder.trained().drawn(missing=1).scored(floor=None)
    seen = page(builder.folder)
    assert "0.311" in seen.text
    assert "drawn anew" not in seen.text


def test_every_picture_has_words(page, whole_run):
    """Alternative texts for all pictures of the page; full pictures and the base's own are linked relatively."""
    seen = page(whole_run)
    assert all(image.get("alt") for image in seen.all("img") if image.get("id") is None)
    grid = [shot for shot in seen.all("a", "shot") if shot.get("data-base")]
    assert grid[0]["href"] == "images/benchmark/00-0.png"
    assert grid[0]["data-base"] == "images/benchmark-base/00-0.png"


def test_reads_no_other_place(whole_run):
    """Nothing but inline data is loaded; only this page's own script may run."""
    html = write_report(whole_run)[0].read_text(encoding="utf-8")
    sources = re.findall(r'(?:src|srcset|action|data)="([^"]*)"', html)
    assert sources
    assert all(source.startswith("data:image/") for source in sources)
    assert not re.search(r"https?://|@import|url\(", html)
    script = re.search(r"<script>(.*)</script>", html, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src &#39;sha256-{digest}&#39;" in html or f"script-src 'sha256-{digest}'" in html


def test_names_and_prompts_are_text(page, builder):
    """Whatever the records hold is escaped, in text and in attributes."""
    evil = "</script><script>alert(1)</script>\"' onload=x <V> CLASS"
    builder.templates = (evil, *builder.templates)
    builder.trained(method="<b>m</b>", machine=Machine(gpu="<s>x</s>", system="<u>y</u>")).drawn().scored(
        floor=None
    )
    seen = page(builder.folder)
    assert len(seen.all("script")) == 1
    assert not seen.all("s")
    assert not seen.all("u")
    assert "<b>m</b> on toybox" in seen.text
    assert seen.all("article", "prompt")[0]["data-prompt"] == evil.replace("CLASS", "cat")


def test_best_and_worst_by_each_metric(page, whole_run):
    """The builder's text alignment rises with the index and its concept alignment falls."""
    seen = page(whole_run)
    links = [shot["href"].split("/")[-1] for shot in seen.all("a", "shot")][20:]  # the first four stand above
    last, first = (
        ["03-3.png", "03-2.png", "03-1.png", "03-0.png"],
        ["00-0.png", "00-1.png", "00-2.png", "00-3.png"],
    )
    assert links[:16] == [*last, *first, *first, *last]


def test_run_without_pictures(page, builder):
    """A shorter page that says which command draws them."""
    seen = page(builder.trained().logged().folder)
    assert seen.sections == {"glance", "training", "settings", "again"}
    assert "There are no pictures yet" in seen.text
    assert re.search(r"coeffdream generate --run \S*/cat-coeff-lora", seen.text)


def test_run_without_scores(page, builder):
    """The pictures are shown; the page says which commands score them and draw the floor."""
    seen = page(builder.trained().drawn().folder)
    assert "pictures" in seen.sections
    assert "scores" not in seen.sections
    assert re.search(r"coeffdream eval \S*/cat-coeff-lora --set benchmark", seen.text)
    assert "--no-adapter" in seen.text


def test_unfinished_set(page, builder):
    """What is there is shown, and how much is missing is said."""
    seen = page(builder.trained().drawn(missing=5).folder)
    assert "11 of 16 pictures are there" in seen.text
    assert "Pictures are missing. Draw them with" in seen.text


def test_interrupted_run(page, builder):
    """The status says how far, the command how to go on; coefficients are the newest checkpoint's."""
    builder.trained(status="interrupted", steps_done=40).logged(40)
    builder.mixed(where="checkpoints/000020").mixed(layers=2, where="checkpoints/000040")
    seen = page(builder.folder)
    assert "interrupted after 40 of 60 steps" in seen.text
    assert re.search(r"coeffdream train --resume \S*/cat-coeff-lora", seen.text)
    assert "checkpoint 000040" in seen.text
    assert seen.text.count("% neg.") == 2


def test_base_only_run(page, builder):
    """A run of the untouched base has pictures and neither training nor photos."""
    builder.trained(status="base", method="none", concept=None, parameters=Parameters())
    seen = page(builder.drawn(adapter=False).folder)
    assert "untouched base, nothing trained" in seen.text
    assert seen.sections == {"glance", "pictures", "settings", "again"}
    assert "--base toybox --class cat" in seen.text
    assert "coeffdream train" not in seen.text


def test_photos_that_have_moved_or_changed(page, builder):
    """A photo that is gone is counted; one that is another now is not passed off as the one that was learned."""
    builder.trained()
    folder = builder.root / "photos" / "cat"
    (folder / "00.png").unlink()
    Image.new("RGB", (64, 64)).save(folder / "01.png")
    seen = page(builder.folder)
    assert "1 of 3 photos are no longer in" in seen.text
    assert "not shown: 01.png" in seen.text
    assert [image["alt"] for image in seen.all("img")][:1] == ["photo 02.png of the cat to learn"]


def test_pictures_gone_or_drawn_again(page, builder):
    """A picture that was deleted leaves a marked hole; scores of other pictures are said to be old."""
    builder.trained().drawn().scored(floor=None)
    folder = SetFolder(builder.folder.images / "benchmark")
    images = folder.read_images()
    altered = [dataclasses.replace(images[0], sha256="0" * 64), *images[1:]]
    write_jsonl(folder.manifest, map(record_to_json, altered))
    (folder.path / images[3].file).unlink()
    seen = page(builder.folder)
    assert "drawn again after they were scored" in seen.text
    assert "1 of 16 pictures of benchmark cannot be read any more" in seen.text
    assert "the file is gone" in seen.all("span", "gone")[0]["aria-label"]


def test_another_set(page, whole_run):
    """--set shows that one, and the others are named."""
    seen = page(whole_run, set_name="benchmark-base")
    assert "Set benchmark-base." in seen.text
    assert "benchmark (16 pictures)" in seen.text
    with pytest.raises(RunError, match="no set called 'nope'"):
        page(whole_run, set_name="nope")


def test_a_time_that_is_none(page, builder):
    """A run.json changed by hand is named."""
    builder.trained()
    record = read_json(builder.folder.record_file)
    write_json(builder.folder.record_file, {**record, "created": "yesterday"})
    with pytest.raises(RunError, match="created is 'yesterday'"):
        page(builder.folder)


def test_settings_tell_defaults_apart(page, builder):
    """What was set stands with its default; the rest is counted."""
    seen = page(builder.trained().folder)
    assert "--lr 0.001 default: 0.0003" in seen.text
    assert "options at their defaults" in seen.text


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


def test_a_run_from_the_hub_says_which(page, builder):
    """Repository and commit, beside the hashes."""
    builder.trained(hub=HubRecord("me/my-cat", "ab" * 20))
    seen = page(builder.folder)
    assert "fetched from me/my-cat, commit" in seen.text
    assert "ab" * 20 in seen.text


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
