"""Prompts: the placeholder, the class noun, and lists of prompts from files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from coeffdream.data.living import is_live
from coeffdream.data.official import is_official, parse_official
from coeffdream.data.shipped import shipped
from coeffdream.errors import ConfigError, PromptError, quoted
from coeffdream.records.environment import home_expanded
from coeffdream.records.reading import read_text

PLACEHOLDER = "<V>"  # stands for the learned concept
CLASS = "CLASS"  # stands for the class noun

ScoringMode = Literal["class", "token", "stripped"]

_CLASS_WORD = re.compile(rf"\b{CLASS}\b")
# What people write when they mean <V>: other brackets or case, an escaped one, a token by hand.
_NEAR_MISS = re.compile(
    r"&lt;\s*v\s*&gt;|[<\[({*]\s*v\s*[>\])}*]|<[^<>\s]{1,20}>|\bsks\b|\$v\b", re.IGNORECASE
)
# What may follow <V> itself, beside "sitting" and "dressed".
_NO_NOUN_WORDS = """
a about above across after against all along alone among an and around as asleep at away before behind below beneath
beside between but by do does down during for from had has have he her his how if in inside into is it its like looks
made near next no not of off on once onto or out outside over s she that the their then there these they this through
to together toward towards under until up upon upside was wears were when where which while who whose will with within
without worn would
"""
_NO_NOUNS = frozenset(_NO_NOUN_WORDS.split())
_VOWEL_SOUND = re.compile(r"(?!uni|use|eu|one\b|once|ut[ei]|uku)[aeiou]|hour|hono|heir", re.IGNORECASE)


def fill_class(template: str, class_noun: str) -> str:
    """Put the class noun in: "a <V> CLASS in the snow" becomes "a <V> cat in the snow"."""
    return _CLASS_WORD.sub(lambda _: class_noun, template)


def numbered(count: int) -> list[str]:
    """The placeholders of a prompt that may speak of several things: <V1>, <V2>, ..."""
    return [f"<V{number}>" for number in range(1, count + 1)]


def to_model_text(prompt: str, token: str | Sequence[str]) -> str:
    """What the base's text encoders read: the identifier token in the placeholder's place.

    token: what <V> becomes, or what <V1>, <V2>, ... become.
    """
    if isinstance(token, str):
        return prompt.replace(PLACEHOLDER, token)
    becomes = dict(zip(numbered(len(token)), token, strict=True))
    return re.sub(r"<V\d+>", lambda found: becomes.get(found[0], found[0]), prompt)


def to_scoring_text(
    prompt: str, *, mode: ScoringMode, class_noun: str | Sequence[str], token: str | Sequence[str]
) -> str:
    """What the scorer's text encoder reads. `prompt` has its class noun filled in already.

    class: the placeholder goes and the class noun stays: "a cat in the snow". A prompt that never
    names the class gets the noun where the placeholder was.
    token: the identifier stays: "a sks cat in the snow".
    stripped: the placeholder, its article and the class noun go: "in the snow".

    class_noun, token: of the thing that <V> is, or those of <V1>, <V2>, ...

    Raises PromptError when no word is left to score.
    """
    if mode not in get_args(ScoringMode):
        raise ConfigError(
            f"unknown scoring text {quoted(mode)}; choose one of {', '.join(get_args(ScoringMode))}"
        )
    if mode == "token":
        return to_model_text(prompt, token)
    things = (
        {PLACEHOLDER: class_noun}
        if isinstance(class_noun, str)
        else dict(zip(numbered(len(class_noun)), class_noun, strict=True))
    )
    text = prompt
    for placeholder, noun in things.items():
        if mode == "class":
            text = _keep_class(text, placeholder, "" if re.search(_named(noun), prompt) else noun)
        else:
            text = _strip_class(text, placeholder, noun)
    text = re.sub(r"\s+(?=[,.;:!?])", "", " ".join(text.split())).lstrip(" ,;:")
    if not re.search(r"\w", text):
        raise PromptError(
            f"no word of the prompt {quoted(prompt)} is left to score in mode {mode!r}; use mode class"
        )
    return text


def names_class(prompt: str, class_noun: str) -> bool:
    """Whether a prompt speaks of the class: its noun, or the last word of a longer one ("running shoe": "shoe")."""
    return any(re.search(_named(noun), prompt) for noun in {class_noun, class_noun.split()[-1]})


def other_noun(prompt: str, class_noun: str) -> str | None:
    """The word that a prompt puts after <V> in the class noun's place: "cat" of "<V> cat", of a run that learned a dog."""
    after = re.search(rf"{PLACEHOLDER}\s+([^\W\d_]+)", prompt)
    if after is None or names_class(fill_class(prompt, class_noun), class_noun):
        return None
    word = after[1].lower()
    return None if word in _NO_NOUNS or word.endswith(("ing", "ed", "ly")) else after[1]


def _named(class_noun: str) -> str:
    """A pattern for the class noun in a prompt, in the singular or the plural."""
    return rf"\b(?i:{re.escape(class_noun)}(?:e?s)?)\b"


def _keep_class(prompt: str, placeholder: str, noun: str) -> str:
    """`noun` in the placeholder's place; empty where the prompt names the class itself."""

    def replace(match: re.Match[str]) -> str:
        follower = noun or match["next"]
        if not match["article"] or not follower:
            return noun
        # "a <V> elephant" would read "a elephant". DreamBooth's classes all start with a consonant
        # sound, so its protocol is untouched; for other nouns correct English is what CLIP knows.
        return f"{match['article'][0]}{'n' if _VOWEL_SOUND.match(follower) else ''} {noun}"

    return re.sub(rf"(?:\b(?P<article>[Aa]n?)\s+)?{placeholder}(?=\s*(?P<next>\w*))", replace, prompt)


def _strip_class(prompt: str, placeholder: str, class_noun: str) -> str:
    article = rf"(?:\b(?i:an?|the)\s+)?{placeholder}"
    text = re.sub(rf"{article}(.*?){_named(class_noun)}", r"\1", prompt)
    return re.sub(article, "", text)


def check_prompt(prompt: str, *, needs_placeholder: bool) -> None:
    """Raises PromptError: no words, no placeholder where one is needed, or one inside a word."""
    if not prompt.strip():
        raise PromptError('the prompt is empty; write for example "<V> cat in the snow"')
    if needs_placeholder and PLACEHOLDER not in prompt:
        raise PromptError(
            f"the prompt {quoted(prompt)} lacks {PLACEHOLDER}{placeholder_hint(prompt)}; write e.g. "
            f'"{PLACEHOLDER} cat" where the concept should appear, '
            "or pass --plain to draw the prompt as it is"
        )
    if re.search(rf"\w{PLACEHOLDER}|{PLACEHOLDER}\w", prompt):
        raise _inside_a_word(prompt, PLACEHOLDER)


def _inside_a_word(prompt: str, placeholder: str) -> PromptError:
    return PromptError(
        f"the prompt {quoted(prompt)} has {placeholder} inside a word; put a space between them"
    )


def check_numbered_prompt(prompt: str, names: Sequence[str], *, needs_placeholder: bool) -> None:
    """As `check_prompt`, for several things: <V1> is names[0], <V2> names[1], ... Raises PromptError."""
    things = dict(zip(numbered(len(names)), names, strict=True))
    said = ", ".join(f"{placeholder} is {name}" for placeholder, name in things.items())
    if PLACEHOLDER in prompt:
        raise PromptError(f"the prompt {quoted(prompt)} has {PLACEHOLDER}, which may be any of them; {said}")
    used = re.findall(r"<V\d+>", prompt)
    if unknown := [each for each in used if each not in things]:
        raise PromptError(f"the prompt {quoted(prompt)} has {unknown[0]}, which stands for nothing; {said}")
    check_prompt(prompt, needs_placeholder=False)
    if found := re.search(r"\w(<V\d+>)|(<V\d+>)\w", prompt):
        raise _inside_a_word(prompt, found[1] or found[2])
    if needs_placeholder and not used:
        raise PromptError(
            f"the prompt {quoted(prompt)} lacks {' and '.join(things)}{placeholder_hint(prompt)}; {said}; "
            "or pass --plain to draw the prompt as it is"
        )


def of_several(template: str, class_nouns: Sequence[str]) -> str:
    """A listed prompt that speaks of one thing, made to speak of all: "a <V> CLASS in snow" becomes
    "a <V1> cat and a <V2> dog in snow"."""

    def all_of_them(found: re.Match[str]) -> str:
        article = found["article"] or ""
        things = zip(numbered(len(class_nouns)), class_nouns, strict=True)
        *first, last = (f"{article}{placeholder} {noun}" for placeholder, noun in things)
        return f"{', '.join(first)} and {last}"

    return re.sub(rf"(?P<article>\b[Aa]n?\s+)?{PLACEHOLDER} {CLASS}\b", all_of_them, template)


def placeholder_hint(prompt: str) -> str:
    """What in the prompt was probably meant as the placeholder, in brackets; else an empty string."""
    match = _NEAR_MISS.search(prompt)
    return f" (it has {match[0]!r}, which is not the placeholder)" if match else ""


@dataclass(frozen=True)
class PromptList:
    """Prompts of one source, with <V> and CLASS still in them.

    `source` is the shipped list's name ("live") or the file's path.
    """

    source: str
    templates: tuple[str, ...]


def load_prompts(source: str, *, class_noun: str, live: bool | None = None) -> PromptList:
    """The prompts of a shipped list or of a file.

    source: "auto" (the live or the object list), a shipped list's name, or a path: one prompt a
    line with # comments, or DreamBooth's prompts_and_classes.txt, of which the list that fits the
    concept is taken. live: whether the concept is a living thing; None judges by `class_noun`.

    Raises PromptError, with line numbers, for a file that is missing, undecodable, without prompts,
    or that holds a prompt twice.
    """
    live = is_live(class_noun) if live is None else live
    if source == "auto":
        source = "live" if live else "object"
    names = _shipped_names()
    path = shipped(f"prompts/{source}.txt") if source in names else home_expanded(source)
    try:
        text = read_text(path, error=PromptError)
    except FileNotFoundError:
        raise PromptError(
            f"no prompts at {quoted(source)}; give a text file with one prompt a line, "
            f"or one of: auto, {', '.join(names)}"
        ) from None
    entries = parse_official(text, live=live, where=source) if is_official(text) else _lines_of(text)
    if not entries:
        raise PromptError(
            f"{source} holds no prompt; write one prompt a line (lines that start with # are comments)"
        )
    first_seen: dict[str, int] = {}
    for number, template in entries:
        if template in first_seen:
            raise PromptError(
                f"{source}, line {number} repeats line {first_seen[template]}: {quoted(template)}; remove one "
                "(several pictures of one prompt are --images-per-prompt)"
            )
        first_seen[template] = number
    return PromptList(source, tuple(first_seen))


def _shipped_names() -> list[str]:
    return sorted(path.stem for path in shipped("prompts").glob("*.txt"))


def _lines_of(text: str) -> list[tuple[int, str]]:
    lines = ((number, " ".join(line.split())) for number, line in enumerate(text.splitlines(), start=1))
    return [(number, line) for number, line in lines if line and not line.startswith("#")]
