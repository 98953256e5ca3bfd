"""What a hand does with the pages, in a real Chromium: slide, swipe, copy, follow the bar, scroll a table, print."""

from __future__ import annotations

import pytest

from coeffdream.report.page import write_report
from coeffdream.report.study.study_page import write_study_report

CUT = "getComputedStyle(document.querySelector('.first .under')).clipPath"


@pytest.fixture
def whole(whole_run):
    return write_report(whole_run)[0]


@pytest.fixture
def of_a_study(whole_study):
    return write_study_report(whole_study)[0]


def touch(browser, *points: tuple[int, int]) -> None:
    """One finger that goes down at the first point and up at the last."""
    for kind, place in zip(("touchStart", *["touchMove"] * (len(points) - 1)), points, strict=True):
        browser.ask("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": place[0], "y": place[1]}])
    browser.ask("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])


def test_the_slider_uncovers_the_untouched_base(browser, whole):
    """By arrow keys, too: at its left end the base's four pictures of the same seeds cover the run's."""
    browser.open(whole)
    assert browser.value("document.querySelectorAll('.first .under').length") == 4
    assert browser.value(CUT) == "inset(0px 0px 0px 100%)"
    browser.value("document.querySelector('.wipe input').focus()")
    for _ in range(3):
        browser.press("ArrowLeft")
    assert browser.value(CUT) == "inset(0px 0px 0px 97%)"
    assert (
        browser.value("document.querySelector('.wipe input').getAttribute('aria-valuetext')")
        == "97 % this run"
    )
    browser.value(
        "(s => { s.value = 0; s.dispatchEvent(new Event('input', {bubbles: true})) })(document.querySelector('.wipe input'))"
    )
    assert browser.value(CUT) == "inset(0px 0px 0px 0%)"
    assert browser.value("document.querySelector('.first .under').alt").endswith(
        "drawn by the untouched base"
    )
    assert browser.complaints() == []


def test_without_a_base_there_is_no_slider(browser, builder):
    """Nothing to compare with, nothing to slide."""
    builder.trained().drawn().scored(floor=None)
    browser.open(write_report(builder.folder)[0])
    assert browser.value("document.querySelectorAll('.first .shot').length") == 4
    assert browser.value("document.querySelectorAll('.wipe, .under').length") == 0
    assert browser.complaints() == []


def test_a_finger_turns_the_pictures(browser, whole):
    """To the left comes the next picture, to the right the one before; down is no swipe."""
    place = "document.getElementById('place').textContent"
    browser.open(whole, width=390, height=844)
    browser.value("document.querySelector('.prompts .shot').click()")
    assert browser.value(place) == "1 of 16"
    touch(browser, (300, 300), (200, 305), (80, 310))
    assert browser.value(place) == "2 of 16"
    touch(browser, (80, 300), (300, 300))
    assert browser.value(place) == "1 of 16"
    touch(browser, (200, 200), (210, 500))
    assert browser.value(place) == "1 of 16"
    browser.press("Escape")


@pytest.mark.parametrize("page", ["whole", "of_a_study"])
def test_commands_are_copied(page, request, browser):
    """Every command has its button; what is copied is the line as a shell takes it, and that is said."""
    browser.open(request.getfixturevalue(page))
    browser.value("document.querySelectorAll('details').forEach(e => { e.open = true })")
    assert browser.value(
        "document.querySelectorAll('pre').length == document.querySelectorAll('.command button').length"
    )
    browser.value("navigator.clipboard.writeText = async (text) => { window.copied = text }")
    browser.value("document.querySelector('#again .command button').click()")
    copied = browser.value("new Promise(r => setTimeout(() => r(window.copied), 50))")
    assert copied == browser.value("document.querySelector('#again pre').textContent")
    assert copied.startswith("coeffdream ")
    assert browser.value("document.querySelector('#again .command button').textContent") == "Copied"


def test_where_no_clipboard_is_the_command_is_selected(browser, whole):
    """So that Ctrl-C takes it."""
    browser.open(whole)
    browser.value("navigator.clipboard.writeText = async () => { throw new Error('no') }")
    browser.value("document.execCommand = () => false")
    browser.value("document.querySelector('#again .command button').click()")
    selected = browser.value("new Promise(r => setTimeout(() => r(getSelection().toString()), 50))")
    assert selected.split() == browser.value("document.querySelector('#again pre').textContent").split()


@pytest.mark.parametrize("page", ["whole", "of_a_study"])
def test_the_bar_stays_and_says_where_one_is(page, request, browser):
    """Wherever the page is scrolled to, the bar is at the top and marks the section that is read."""
    browser.open(request.getfixturevalue(page), width=390, height=844)
    marked = "document.querySelector('nav [aria-current]').hash"
    first = browser.value(marked)
    browser.value("document.documentElement.style.scrollBehavior = 'auto'")
    for section in ("#pictures", "#training", "#again"):
        browser.value(f"document.querySelector('{section}').scrollIntoView()")
        browser.value("new Promise(r => setTimeout(r, 100))")
        assert browser.value("document.querySelector('nav').getBoundingClientRect().top") == 0
        assert browser.value(marked) == section
        link = "document.querySelector('nav [aria-current]').getBoundingClientRect()"
        assert browser.value(f"{link}.left >= 0 && {link}.right <= innerWidth")  # the bar was moved along
        heading = f"document.querySelector('{section} h2').getBoundingClientRect().top"
        bar = "document.querySelector('nav').getBoundingClientRect().bottom"
        assert section == "#again" or browser.value(f"{heading} >= {bar}")  # nothing hides beneath it
    assert first in ("#glance", "#finding")


def test_a_table_shows_that_it_scrolls(browser, of_a_study):
    """On a phone its cut edge fades and a line says so, on both sides in turn; on a laptop neither."""
    table = "document.querySelector('#table .scroll')"
    hint = "getComputedStyle(document.querySelector('#table .hint')).display"
    settled = "new Promise(r => setTimeout(r, 100))"
    browser.open(of_a_study, width=390, height=844)
    browser.value(settled)
    assert browser.value(f"[{table}.className, {hint}]") == ["scroll more-right", "block"]
    browser.value(f"{table}.scrollLeft = 40; {settled}")
    assert browser.value(f"{table}.className") == "scroll more-right more-left"
    browser.value(f"{table}.scrollLeft = 9999; {settled}")
    assert browser.value(f"{table}.className") == "scroll more-left"
    browser.open(of_a_study, width=1440)
    browser.value(settled)
    assert browser.value(f"[{table}.className, {hint}]") == ["scroll", "none"]


@pytest.mark.parametrize("page", ["whole", "of_a_study"])
def test_print_keeps_colors_and_charts_whole(page, request, browser):
    """On white paper whatever the scheme, with its colours, without buttons; charts and pictures are not split."""
    browser.open(request.getfixturevalue(page), dark=True)
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.ask("Emulation.setEmulatedMedia", media="print", features=dark)
    try:
        assert browser.value("getComputedStyle(document.documentElement).printColorAdjust") == "exact"
        assert browser.value("getComputedStyle(document.body).backgroundColor.match(/\\d+/g)[0] > 240")
        whole = "[...document.querySelectorAll('figure, .card, .strip, .arm')]"
        assert browser.value(f"{whole}.filter(e => getComputedStyle(e).breakInside != 'avoid').length") == 0
        seen = "[...document.querySelectorAll('nav, .filter, .wipe, .command button')].filter(e => e.offsetParent)"
        assert browser.value(f"{seen}.length") == 0
        assert browser.ask("Page.printToPDF", printBackground=True)["data"]
    finally:
        browser.ask("Emulation.setEmulatedMedia", media="", features=[])
