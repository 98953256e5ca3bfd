"""The report in a real Chromium, driven over its DevTools pipe: no error, no request, filter and zoom work."""

from __future__ import annotations

import pytest

from coeffdream.report.page import write_report


def shown(browser) -> list[str]:
    """Prompts of the grid that are not hidden."""
    return browser.value(
        "[...document.querySelectorAll('.prompt')].filter(e => e.offsetParent).map(e => e.dataset.prompt)"
    )


ZOOMED = "document.getElementById('zoom').open"
LARGE = "document.querySelector('.stage img')"


def test_loads_without_error_or_network(browser, whole_run):
    """No exception, nothing refused by its own policy, and only files and inline data are read."""
    browser.open(write_report(whole_run)[0])
    assert browser.value("document.title") == "cat-coeff-lora · coeffdream"
    assert browser.complaints() == []
    assert browser.requests() <= {"file", "data"}
    broken = "[...document.images].filter(i => i.src && i.complete && !i.naturalWidth).length"
    assert browser.value(broken) == 0


def test_filter_leaves_the_prompts_that_hold_the_words(browser, whole_run):
    """Typing narrows the grid and the count; words that are nowhere say so; clearing brings all back."""
    browser.open(write_report(whole_run)[0])
    browser.value("document.getElementById('filter').focus()")
    browser.type("SNOW the")
    assert shown(browser) == ["a <V> cat in the snow"]
    assert browser.value("document.getElementById('count').textContent") == "1 of 4 prompts"
    browser.type(" unicorn")
    assert shown(browser) == []
    assert browser.value("document.getElementById('nothing').offsetParent !== null")
    browser.value(
        "(f => { f.value = ''; f.dispatchEvent(new Event('input', {bubbles: true})) })(document.getElementById('filter'))"
    )
    assert len(shown(browser)) == 4


def test_zoom_by_keyboard(browser, whole_run):
    """Enter opens the full picture beside the base's, arrows go on and around, Escape closes, focus returns."""
    browser.open(write_report(whole_run)[0])
    browser.value("document.querySelectorAll('.prompts .shot')[1].focus()")
    browser.press("Enter")
    assert browser.value(ZOOMED)
    address = f"{LARGE}.src.split('/').slice(-3).join('/')"
    assert browser.value(address) == "images/benchmark/00-1.png"
    assert browser.value("document.querySelectorAll('.stage img')[1].src").endswith("benchmark-base/00-1.png")
    assert browser.value(f"{LARGE}.decode().then(() => {LARGE}.naturalWidth)") == 48
    browser.press("ArrowRight")
    assert browser.value(address) == "images/benchmark/00-2.png"
    for _ in range(3):
        browser.press("ArrowLeft")
    assert browser.value(address) == "images/benchmark/03-3.png"
    assert browser.value("document.getElementById('place').textContent") == "16 of 16"
    browser.press("Escape")
    assert not browser.value(ZOOMED)
    assert browser.value("document.activeElement === document.querySelectorAll('.prompts .shot')[1]")
    assert browser.complaints() == []


def test_zoom_by_mouse_among_filtered_pictures(browser, whole_run):
    """A click opens; the arrows stay among what the filter left; a photo, which has no file beside the page, too."""
    browser.open(write_report(whole_run)[0])
    browser.value("document.getElementById('filter').focus()")
    browser.type("beach")
    browser.value("[...document.querySelectorAll('.prompts .shot')].find(e => e.offsetParent).click()")
    assert browser.value("document.getElementById('place').textContent") == "1 of 4"
    browser.value("document.getElementById('close').click()")
    browser.value("document.querySelector('.photos .shot').click()")
    assert browser.value(f"{LARGE}.src.startsWith('data:image/webp')")
    assert browser.value("document.querySelectorAll('.stage figure').length") == 1
    browser.press("Escape")


def test_a_hostile_prompt_stays_text(browser, builder):
    """Markup in a prompt is shown, not run."""
    builder.templates = (
        "a <V> CLASS <img src=x onerror=\"document.title='taken'\">",
        "a <V> CLASS\"'><script>1</script>",
    )
    builder.trained().drawn().scored(floor=None)
    browser.open(write_report(builder.folder)[0])
    assert browser.value("document.title") == "cat-coeff-lora · coeffdream"
    assert browser.value("document.scripts.length") == 1
    assert "onerror" in browser.value("document.querySelector('.prompt h3').textContent")
    assert browser.complaints() == []


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_wider_than_the_window(width, dark, browser, whole_run):
    """At phone and at desktop width, nobody has to scroll sideways; the colours follow the scheme."""
    browser.open(write_report(whole_run)[0], width=width, dark=dark)
    assert browser.value("document.documentElement.scrollWidth") <= width
    light = browser.value("getComputedStyle(document.body).backgroundColor.match(/\\d+/g)[0] > 127")
    assert light is not dark
