"""A study's page in a real Chromium: no error, no request, the filter and the zoom of whole rows work."""

from __future__ import annotations

import pytest

from coeffdream.report.study.study_page import write_study_report


@pytest.fixture
def file(whole_study):
    return write_study_report(whole_study)[0]


SHOWN = """[...document.querySelectorAll('.prompt')].filter(e => e.offsetParent)
.map(e => e.closest('.concept').dataset.concept + ': ' + e.dataset.prompt)"""
COUNT = "document.getElementById('count').textContent"
ZOOMED = "document.getElementById('zoom').open"
NAMES = "[...document.querySelectorAll('.stage b')].map(e => e.textContent)"
PLACES = "[...document.querySelectorAll('.stage img')].map(e => e.src.split('/').slice(-4).join('/'))"


def test_a_study_loads_without_error_or_network(browser, file):
    """No exception, nothing refused by its own policy, only files and inline data, no broken picture."""
    browser.open(file)
    assert browser.value("document.title") == "study · coeffdream"
    assert browser.complaints() == []
    assert browser.requests() <= {"file", "data"}
    assert (
        browser.value("[...document.images].filter(i => i.src && i.complete && !i.naturalWidth).length") == 0
    )


def test_filter_by_concept_and_words(browser, file):
    """Keyboard alone: the arrow keys choose a concept, words narrow it further, and concepts left empty go."""
    browser.open(file)
    assert browser.value(COUNT) == "12 prompts"
    browser.value("document.querySelector('[name=concept]:checked').focus()")
    browser.press("ArrowRight")
    assert len(browser.value(SHOWN)) == 4
    assert browser.value(COUNT) == "4 of 12 prompts"
    browser.value("document.getElementById('filter').focus()")
    browser.type("snow")
    assert browser.value(SHOWN) == ["cat: a <V> cat in the snow"]
    browser.value("document.querySelector('[name=concept][value=\"\"]').click()")
    assert len(browser.value(SHOWN)) == 3
    browser.type("unicorn")
    assert browser.value("document.getElementById('nothing').offsetParent !== null")
    assert browser.value("[...document.querySelectorAll('.concept')].every(e => e.hidden)")


def test_zoom_shows_the_methods_next_to_each_other(browser, file):
    """Enter opens the whole row, full pictures with their methods' names; arrows go to other rows; focus returns."""
    browser.open(file)
    browser.value("document.querySelectorAll('.strips .shot')[1].focus()")
    browser.press("Enter")
    assert browser.value(ZOOMED)
    assert browser.value(NAMES) == ["untouched base", "lora", "coeff-lora", "dora"]
    assert browser.value(PLACES)[1] == "cat-lora-seed0/images/benchmark/00-0.png"
    browser.press("ArrowRight")
    assert browser.value(PLACES)[3] == "cat-dora-seed0/images/benchmark/01-0.png"
    for _ in range(2):
        browser.press("ArrowLeft")
    assert browser.value("document.getElementById('place').textContent") == "12 of 12"
    browser.press("Escape")
    assert not browser.value(ZOOMED)
    assert browser.value("document.activeElement === document.querySelectorAll('.strips .shot')[1]")
    browser.value("document.querySelector('.concepts .references .shot').click()")
    assert browser.value("document.querySelectorAll('.stage img').length") == 1
    assert browser.value("document.getElementById('place').textContent") == "1 of 2"
    browser.press("Escape")
    assert browser.complaints() == []


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_no_part_of_a_study_is_wider_than_the_window(width, dark, browser, file):
    """At phone and at desktop width, with the zoom open too; the colours follow the scheme."""
    browser.open(file, width=width, dark=dark)
    assert browser.value("document.documentElement.scrollWidth") <= width
    light = browser.value("getComputedStyle(document.body).backgroundColor.match(/\\d+/g)[0] > 127")
    assert light is not dark
    browser.value("document.querySelector('.strips .shot').click()")
    assert browser.value("document.querySelector('.stage').scrollWidth") <= width
