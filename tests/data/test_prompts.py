"""One prompt: the class noun in, the identifier in, what a scorer reads, and what is refused."""

from __future__ import annotations

import pytest

from coeffdream.data.prompts import (
    check_prompt,
    fill_class,
    of_several,
    other_noun,
    to_model_text,
    to_scoring_text,
)
from coeffdream.errors import ConfigError, PromptError


def scoring(prompt: str, mode: str, noun: str = "cat") -> str:
    return to_scoring_text(prompt, mode=mode, class_noun=noun, token="sks")  # type: ignore[arg-type]


def test_class_is_filled_as_a_word() -> None:
    """Only the word CLASS is replaced, and the noun is taken literally."""
    assert fill_class("a <V> CLASS in the snow", "cat") == "a <V> cat in the snow"
    assert fill_class("FIRSTCLASS class CLASS, CLASS", r"\1 cat") == r"FIRSTCLASS class \1 cat, \1 cat"


def test_the_model_reads_the_token() -> None:
    """The token replaces every placeholder and nothing else, articles included."""
    assert to_model_text("a <V> cat and <V>, a v", "sks") == "a sks cat and sks, a v"


@pytest.mark.parametrize(
    ("prompt", "noun", "text"),
    [
        ("a <V> cat in the snow", "cat", "a cat in the snow"),
        ("a red <V> cat", "cat", "a red cat"),
        ("<V> cat.", "cat", "cat."),
        ("a photo of <V> stuffed animal", "stuffed animal", "a photo of stuffed animal"),
        ("a <V> elephant", "elephant", "an elephant"),
        ("A <V> elephant", "elephant", "An elephant"),
        ("an <V> cat", "cat", "a cat"),
        ("a <V> unicorn", "unicorn", "a unicorn"),
        ("a <V> hourglass", "hourglass", "an hourglass"),
        ("a <V> in the snow", "owl", "an owl in the snow"),
        ("<V> in the snow, with <V>", "cat", "cat in the snow, with cat"),
        ("a <V>'s paw", "cat", "a cat's paw"),
        ("a <V> Cat", "cat", "a Cat"),
        ("two <V> cats", "cat", "two cats"),
        ("no placeholder  here", "cat", "no placeholder here"),
        ("area <V> cat", "cat", "area cat"),
    ],
)
def test_scoring_text_keeps_the_class(prompt: str, noun: str, text: str) -> None:
    """The default reads like the caption a person would write."""
    assert scoring(prompt, "class", noun) == text


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("a <V> cat in the snow", "in the snow"),
        ("a photo of <V> cat, wet", "a photo of, wet"),
        ("a <V> cat beside a cat tree", "beside a cat tree"),
        ("a <V> in the snow", "in the snow"),
        ("a <V> fluffy cat in the snow", "fluffy in the snow"),
        ("<V> cat, wet", "wet"),
        ("a red <V> cat", "a red"),
        ("an <V> cat in the snow", "in the snow"),
        ("The <V> cat in the snow", "in the snow"),
        ("beside the <V> cat", "beside"),
        ("An <V> in the snow", "in the snow"),
        ("banana <V> cat", "banana"),
    ],
)
def test_scoring_text_stripped(prompt: str, text: str) -> None:
    """Placeholder and class noun go, a second mention of the noun stays."""
    assert scoring(prompt, "stripped") == text


def test_scoring_text_with_token() -> None:
    """Mode token is what the model read."""
    assert scoring("a <V> cat in the snow", "token") == "a sks cat in the snow"


def test_nothing_left_to_score() -> None:
    """An empty text would be scored as if it meant something."""
    with pytest.raises(PromptError, match=r"'a <V> cat\.' is left to score in mode 'stripped'"):
        scoring("a <V> cat.", "stripped")


def test_unknown_scoring_mode() -> None:
    """A misspelt mode names the choices."""
    with pytest.raises(ConfigError, match="'clas'; choose one of class, token, stripped"):
        scoring("a <V> cat", "clas")


@pytest.mark.parametrize("prompt", ["", " \n\t"])
@pytest.mark.parametrize("needs_placeholder", [True, False])
def test_empty_prompt(prompt: str, needs_placeholder: bool) -> None:
    """An empty prompt is refused even with --plain."""
    with pytest.raises(PromptError, match="the prompt is empty"):
        check_prompt(prompt, needs_placeholder=needs_placeholder)


def test_missing_placeholder() -> None:
    """The prompt is quoted and both ways out are shown."""
    with pytest.raises(PromptError, match=r"'a cat' lacks <V>; write e\.g\. \"<V> cat\".*--plain"):
        check_prompt("a cat", needs_placeholder=True)
    check_prompt("a cat", needs_placeholder=False)
    check_prompt("a <V> cat", needs_placeholder=True)


@pytest.mark.parametrize("prompt", ["a <V>cat", "a black<V> cat"])
def test_placeholder_inside_a_word(prompt: str) -> None:
    """`<V>cat` would become skscat, a token that was never learned."""
    with pytest.raises(PromptError, match="inside a word"):
        check_prompt(prompt, needs_placeholder=True)
    check_prompt("a <V>'s paw, <V>", needs_placeholder=True)


@pytest.mark.parametrize(
    "near", ["<v>", "&lt;V&gt;", "[V]", "{V}", "(v)", "< V >", "<v1>", "<sks>", "<new1>", "sks", "$V", "*v*"]
)
def test_near_misses_are_noticed(near: str) -> None:
    """What was meant as the placeholder is quoted, as shells and other tools spell it."""
    with pytest.raises(PromptError, match="is not the placeholder") as caught:
        check_prompt(f"a {near} cat", needs_placeholder=True)
    assert repr(near) in str(caught.value)


@pytest.mark.parametrize("prompt", ["a cat", "a TV show", "a v-neck (vest)", "task skis"])
def test_ordinary_words_are_no_near_miss(prompt: str) -> None:
    """Words with a v in them raise no suspicion."""
    with pytest.raises(PromptError) as caught:
        check_prompt(prompt, needs_placeholder=True)
    assert "is not the placeholder" not in str(caught.value)


@pytest.mark.parametrize(
    ("prompt", "noun", "other"),
    [
        ("<V> cat in snow", "dog", "cat"),
        ("a <V> sneaker, oil painting", "backpack", "sneaker"),
        ("<V> dog in snow", "dog", None),
        ("two <V> dogs", "dog", None),
        ("a <V> CLASS in the snow", "dog", None),
        ("<V> red running shoe", "running shoe", None),
        ("<V> shoe", "running shoe", None),
        ("<V> in snow", "dog", None),
        ("<V>, watercolor", "dog", None),
        ("<V> sitting on a cat", "dog", None),
        ("the snow", "dog", None),
    ],
)
def test_another_noun_than_the_class(prompt, noun, other):
    """ "<V> cat" asks a run that learned a dog for something that it never saw."""
    assert other_noun(prompt, noun) == other


class TestSeveralThings:
    """<V1>, <V2>, ... in place of <V>."""

    NOUNS = ("cat", "dog")

    def test_each_becomes_its_own_token(self) -> None:
        """In one pass: a token that looks like a placeholder is not read again, and <V> is none of them."""
        assert to_model_text("<V1> cat, <V2> dog, <V3>, <V>", ["sks", "zwx"]) == "sks cat, zwx dog, <V3>, <V>"
        assert to_model_text("<V1> <V2>", ["<V2>", "x"]) == "<V2> x"
        assert to_model_text("<V11>", ["a"] * 10 + ["b"]) == "b"

    @pytest.mark.parametrize(
        ("prompt", "mode", "text"),
        [
            ("a <V1> cat beside a <V2> dog", "class", "a cat beside a dog"),
            ("a <V1> beside a <V2>", "class", "a cat beside a dog"),
            ("<V2> dog alone", "class", "dog alone"),
            ("a <V1> cat beside a <V2> dog", "token", "a sks cat beside a zwx dog"),
            ("a <V1> cat and a <V2> dog in snow", "stripped", "and in snow"),
        ],
    )
    def test_what_is_scored(self, prompt: str, mode: str, text: str) -> None:
        found = to_scoring_text(prompt, mode=mode, class_noun=self.NOUNS, token=("sks", "zwx"))  # type: ignore[arg-type]
        assert found == text

    def test_two_of_one_class(self) -> None:
        """Whether the noun is there is judged by the prompt, not by what the first of them left."""
        found = to_scoring_text(
            "a <V1> beside a <V2>", mode="class", class_noun=["owl", "owl"], token=["x", "y"]
        )
        assert found == "an owl beside an owl"

    @pytest.mark.parametrize(
        ("template", "nouns", "becomes"),
        [
            ("a <V> CLASS in snow", NOUNS, "a <V1> cat and a <V2> dog in snow"),
            ("a red <V> CLASS", NOUNS, "a red <V1> cat and <V2> dog"),
            ("<V> CLASS", ("cat", "dog", "owl"), "<V1> cat, <V2> dog and <V3> owl"),
            ("a <V1> cat", NOUNS, "a <V1> cat"),
        ],
    )
    def test_a_list_for_one_thing_speaks_of_all(
        self, template: str, nouns: tuple[str, ...], becomes: str
    ) -> None:
        assert of_several(template, nouns) == becomes
