"""The pages at three widths, and at one in the dark scheme, whose colors alone are others, held to axe-core's rules."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from coeffdream.report.live import LivePage
from coeffdream.report.page import write_report
from coeffdream.report.study.study_page import write_study_report

SCREENS = {390: 844, 1024: 768, 1440: 900}  # a phone, a tablet, a laptop: width and height in pixels


@pytest.fixture(scope="session")
def axe() -> str:
    """axe-core's script; its package is one of the dev extra, and only carries it here."""
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        pytest.skip('no axe-core here (pip install -e ".[dev]")')
    return Path(found.origin).with_name("axe.min.js").read_text(encoding="utf-8")


@pytest.fixture
def violations(browser, axe):
    """What axe-core has against the page that is open: rule, and the elements."""

    def found() -> list[str]:
        browser.value(axe + ";0")
        told = browser.value(
            "axe.run(document, {resultTypes: ['violations']}).then(r => JSON.stringify({checked: r.passes.length, "
            "violations: r.violations.map(v => v.id + ': ' + v.nodes.map(n => n.html.slice(0, 120)).slice(0, 5).join(' | '))}))"
        )
        answer = json.loads(told)
        assert answer["checked"] > 10  # it did look
        return answer["violations"]

    return found


@pytest.fixture
def whole(whole_run):
    return write_report(whole_run)[0]


@pytest.fixture
def living(builder):
    """A page as training leaves it in its middle."""
    builder.trained(status="training", steps_done=0).logged(20, seconds=0.5).sampled(0, 15)
    LivePage(lambda: "1.5 GB of memory", lambda file: None)(builder.folder.path, False)
    return builder.folder.path / "report.html"


@pytest.fixture
def of_a_study(whole_study):
    return write_study_report(whole_study)[0]


@pytest.mark.parametrize("page", ["whole", "living", "of_a_study"])
@pytest.mark.parametrize(("width", "dark"), [*((width, False) for width in SCREENS), (1024, True)])
def test_no_violation(page, width, dark, request, browser, violations):
    """Contrast, names, landmarks, headings, focus: whatever axe-core knows of; folded parts open too."""
    browser.open(request.getfixturevalue(page), width=width, height=SCREENS[width], dark=dark)
    browser.value("document.querySelectorAll('details').forEach(e => { e.open = true })")
    assert violations() == []


def test_the_rules_are_in_force(browser, violations, tmp_path):
    """A page with faults has violations: gray on white, and a picture without words."""
    file = tmp_path / "bad.html"
    file.write_text("<!doctype html><title>x</title><p style='color:#ccc'>faint</p><img src='data:,'>")
    browser.open(file)
    assert browser.value("1") == 1
    browser.value(
        (Path(importlib.util.find_spec("axe_playwright_python").origin).with_name("axe.min.js")).read_text()
        + ";0"
    )
    told = browser.value("axe.run().then(r => r.violations.map(v => v.id))")
    assert {"color-contrast", "image-alt", "html-has-lang"} <= set(told)


@pytest.mark.parametrize("page", ["whole", "of_a_study"])
def test_no_violation_in_the_zoom(page, request, browser, violations):
    """With a picture large, beside the untouched base's."""
    browser.open(request.getfixturevalue(page))
    browser.value("document.querySelector('.prompt .shot').click()")
    assert violations() == []


def below_the_fold(browser, *selectors: str) -> list[str]:
    """Those of the elements that do not end on the first screen; each selector must find some."""
    found = {
        selector: browser.value(
            f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.getBoundingClientRect().bottom - innerHeight)"
        )
        for selector in selectors
    }
    assert all(found.values()), found
    return [selector for selector, distances in found.items() if max(distances) > 0]


@pytest.mark.parametrize("width", SCREENS)
def test_the_first_screen_holds_pictures_and_scores(width, browser, whole):
    """Photos, four drawn pictures, and every score with its words, before anybody scrolls."""
    browser.open(whole, width=width, height=SCREENS[width])
    assert browser.value("document.querySelectorAll('.first .shot').length") == 4
    figures = "[...document.querySelectorAll('.verdicts .figure')].map(e => e.firstChild.data.trim())"
    assert browser.value(figures) == ["0.311", "0.744", "9.87"]
    assert (
        below_the_fold(
            browser, ".photos .shot", ".first .shot", ".verdicts .figure", ".verdicts p:last-child"
        )
        == []
    )


@pytest.mark.parametrize("width", SCREENS)
def test_the_first_screen_of_a_study(width, browser, of_a_study):
    """The finding, and one prompt by every method under the photos."""
    browser.open(of_a_study, width=width, height=SCREENS[width])
    assert below_the_fold(browser, ".finding", ".sample .references .shot", ".sample .strip .shot") == []
    assert below_the_fold(browser, ".scores thead") == []


@pytest.mark.parametrize("width", SCREENS)
def test_the_first_screen_of_a_training(width, browser, living):
    """Photos, the newest samples, the step and the time left."""
    browser.open(living, width=width, height=SCREENS[width])
    assert below_the_fold(browser, ".photos .shot", ".newest .shot", ".live .step", ".live progress") == []


BROKEN = """(() => {
  const broken = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (node.parentElement.closest("script, style, noscript, pre, code, dialog")) continue;
    if (/^\\s*\\S{30,}\\s*$/.test(node.data)) continue;
    for (const found of node.data.matchAll(/[^\\s\\-–—/·×,]+/g)) {
      const range = document.createRange();
      range.setStart(node, found.index);
      range.setEnd(node, found.index + found[0].length);
      const lines = new Set([...range.getClientRects()].filter(r => r.width > 1).map(r => Math.round(r.top)));
      if (lines.size > 1) broken.push(`${found[0]} in ${node.data.trim().slice(0, 60)}`);
    }
  }
  return broken;
})()"""


@pytest.mark.parametrize("page", ["whole", "of_a_study"])
@pytest.mark.parametrize("width", SCREENS)
def test_no_word_is_broken(page, width, request, browser):
    """Lines end between words. Left out are commands, hashes, and paths, which have no place to break."""
    browser.open(request.getfixturevalue(page), width=width, height=SCREENS[width])
    browser.value("document.querySelectorAll('details').forEach(e => { e.open = true })")
    assert browser.value(BROKEN) == []
