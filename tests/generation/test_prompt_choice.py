"""Which prompts are drawn when none are given, and what is said of words that the embedded base lacks."""

from __future__ import annotations

import pytest

from coeffdream.generation.request import GenerateRequest
from coeffdream.generation.wording import warn_of_other_nouns
from coeffdream.toybox.vocabulary import unknown_words, warn_of_unknown_words


@pytest.mark.parametrize(
    ("noun", "live", "toybox", "source"),
    [
        ("cat", None, False, "live"),
        ("cat", False, False, "object"),
        ("cat", None, True, "toybox-live"),
        ("teapot", None, True, "toybox-object"),
        ("teapot", True, True, "toybox-live"),
    ],
)
def test_the_list_fits_subject_and_base(noun, live, toybox, source):
    """A living thing gets things to wear, and the toybox only what it has words for."""
    found, templates = GenerateRequest().templates(noun, live, toybox=toybox)
    assert source in found
    assert len(templates) == 25


def test_a_forced_list_is_taken_as_it_is():
    """--prompts live means the list that SDXL gets, on the toybox too, so that people can see what it does."""
    forced, _ = GenerateRequest(prompt_list="live").templates("cat", None, toybox=True)
    usual, _ = GenerateRequest().templates("cat", None, toybox=False)
    assert forced == usual


def test_the_toyboxs_lists_hold_no_unknown_word():
    """The benchmark of the toybox must be drawable, or its text alignment would mean nothing."""
    for noun in ("cat", "teapot"):
        _, templates = GenerateRequest().templates(noun, None, toybox=True)
        for template in templates:
            assert unknown_words(template.replace("<V>", "sks").replace("CLASS", noun)) == []


def test_unknown_words_are_named_once():
    """A person learns which words did nothing, in one line however many prompts there are."""
    said = []
    warn_of_unknown_words(
        ["a sks cat riding a bicycle", "a sks cat on a bicycle", "a sks cat in the snow"], said.append
    )
    [line] = said
    assert line.endswith("riding, bicycle")


def test_other_nouns_are_named_once():
    """A list of prompts of another noun is one warning, and prompts of the run's own noun are none."""
    said: list[str] = []
    warn_of_other_nouns(["<V> cat", "a <V> cat at sea", "<V> dog", "a <V> CLASS"], "dog", said.append)
    assert said == [
        'prompts speak of <V> cat, but what this run learned is a dog; write "<V> dog" or train with another --class'
    ]
    warn_of_other_nouns(["<V> dog", "<V> in snow"], "dog", said.append)
    assert len(said) == 1
