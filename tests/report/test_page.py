"""What stands on the report's page, read as HTML; test_page_browser.py opens it in a browser."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest

from coeffdream.compare.comparison import compare
from coeffdream.compare.pairing import pair_runs
from coeffdream.compare.scored import load_runs
from coeffdream.errors import RunError
from coeffdream.records.environment import Machine
from coeffdream.records.run import HubRecord
from coeffdream.report.page import write_report


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


def test_another_set(page, whole_run):
    """--set shows that one, and the others are named."""
    seen = page(whole_run, set_name="benchmark-base")
    assert "Set benchmark-base." in seen.text
    assert "benchmark (16 pictures)" in seen.text
    with pytest.raises(RunError, match="no set called 'nope'"):
        page(whole_run, set_name="nope")


def test_settings_tell_defaults_apart(page, builder):
    """What was set stands with its default; the rest is counted."""
    seen = page(builder.trained().folder)
    assert "--lr 0.001 default: 0.0003" in seen.text
    assert "options at their defaults" in seen.text


def test_a_run_from_the_hub_says_which(page, builder):
    """Repository and commit, beside the hashes."""
    builder.trained(hub=HubRecord("me/my-cat", "ab" * 20))
    seen = page(builder.folder)
    assert "fetched from me/my-cat, commit" in seen.text
    assert "ab" * 20 in seen.text
