"""Lists of prompts: the shipped ones, plain files, DreamBooth's own file."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from coeffdream.data.prompts import load_prompts
from coeffdream.data.shipped import shipped
from coeffdream.errors import PromptError

OFFICIAL = Path(__file__).parents[2].parent / "shared/data/dreambooth/prompts_and_classes.txt"

# The shape of DreamBooth's file, with sentences of our own.
LIKE_OFFICIAL = """Classes

subject_name,class
cat2,cat

Prompts

Object Prompts

prompt_list = [
'a {0} {1} on a shelf'.format(unique_token, class_token),
"a {0} {1} at the king's table".format(unique_token, class_token)
]

Live Subject Prompts

prompt_list = [
'a {0} {1} in a boat'.format(unique_token, class_token),

'a wet {0} {1}'.format(unique_token, class_token),
]
"""


def write(tmp_path: Path, text: str | bytes) -> str:
    path = tmp_path / "mine.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def refusal(source: str) -> str:
    with pytest.raises(PromptError) as caught:
        load_prompts(source, class_noun="cat", live=True)
    return str(caught.value)


@pytest.mark.parametrize("name", ["live", "object"])
def test_shipped_lists_have_dreambooths_structure(name: str) -> None:
    """25 prompts; both lists share the places of the first ten and the five properties."""
    prompts = load_prompts(name, class_noun="cat")
    assert prompts.source == name
    assert len(prompts.templates) == 25
    assert all(len(re.findall("<V> CLASS", template)) == 1 for template in prompts.templates)
    assert len({template.lower() for template in prompts.templates}) == 25
    sections = re.findall(r"^# .*\((\d+)\)$", shipped(f"prompts/{name}.txt").read_text(), re.M)
    assert sections == {"live": ["10", "10", "5"], "object": ["20", "5"]}[name]


def test_the_two_lists_agree_where_dreambooths_do() -> None:
    """The same ten places first and the same five properties last, so that the kinds can be compared."""
    live = load_prompts("live", class_noun="cat").templates
    objects = load_prompts("object", class_noun="cat").templates
    assert live[:10] == objects[:10]
    assert live[20:] == objects[20:]
    assert not set(live[10:20]) & set(objects)


@pytest.mark.skipif(not OFFICIAL.is_file(), reason="needs DreamBooth's prompts in shared/data/dreambooth")
def test_shipped_lists_are_in_our_own_words() -> None:
    """No prompt of DreamBooth's is copied."""
    theirs = {
        t for live in (True, False) for t in load_prompts(str(OFFICIAL), class_noun="x", live=live).templates
    }
    ours = {t for name in ("live", "object") for t in load_prompts(name, class_noun="x").templates}
    assert len(theirs) == 35
    assert not ours & theirs


@pytest.mark.parametrize(
    ("noun", "live", "source"),
    [("cat", None, "live"), ("teapot", None, "object"), ("cat", False, "object"), ("teapot", True, "live")],
)
def test_auto_follows_the_concept(noun: str, live: bool | None, source: str) -> None:
    """A teapot is not asked to wear a hat, unless its concept.toml says that it lives."""
    assert load_prompts("auto", class_noun=noun, live=live).source == source


def test_plain_file(tmp_path: Path) -> None:
    """One prompt a line; comments, blank lines, a byte order mark and Windows line ends are no prompts."""
    source = write(tmp_path, "\ufeff# mine\r\n\r\na <V> CLASS,  wet\r\n  a plain prompt #1  \r\n")
    prompts = load_prompts(source, class_noun="cat")
    assert prompts.source == source
    assert prompts.templates == ("a <V> CLASS, wet", "a plain prompt #1")


@pytest.mark.parametrize("text", ["", "\n\n", "# only\n# comments\n"])
def test_file_without_prompts(tmp_path: Path, text: str) -> None:
    """A file of comments is not zero pictures but a mistake."""
    assert "mine.txt holds no prompt" in refusal(write(tmp_path, text))


def test_repeated_prompt(tmp_path: Path) -> None:
    """A prompt twice would weigh double in the scores; both lines are named."""
    message = refusal(write(tmp_path, "# x\na <V> cat\nb <V>\n\na  <V> cat \n"))
    assert "line 5 repeats line 2: 'a <V> cat'" in message


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"a <V> cat\nb\xe4r <V>\n", "is not UTF-8 text"), (b"a <V> cat\nb\0r <V>\n", "holds NUL bytes")],
)
def test_undecodable_file(tmp_path: Path, data: bytes, says: str) -> None:
    """A Latin-1 or binary file is refused with the line where it stops being text."""
    assert f"mine.txt, line 2 {says}" in refusal(write(tmp_path, data))


def test_utf16_file(tmp_path: Path) -> None:
    """What some Windows editors call Unicode is named as not UTF-8."""
    assert "save the file as UTF-8" in refusal(write(tmp_path, "a <V> cat\n".encode("utf-16")))


def test_unknown_source(tmp_path: Path) -> None:
    """A misspelt list or path shows the lists that exist."""
    message = refusal("lvie")
    assert "no prompts at 'lvie'" in message
    assert re.search(r"one of: auto, .*live.*object", message)
    assert "is a folder, not a file" in refusal(str(tmp_path))


def test_file_of_a_shipped_name_in_the_folder_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`live` is the benchmark wherever the command runs; a path says ./live."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "live").write_text("mine <V>\n")
    assert len(load_prompts("live", class_noun="cat").templates) == 25
    assert load_prompts("./live", class_noun="cat").templates == ("mine <V>",)


def test_official_form_is_parsed_not_run(tmp_path: Path) -> None:
    """Each list by its heading, quotes and blank lines as they come."""
    source = write(tmp_path, LIKE_OFFICIAL)
    assert load_prompts(source, class_noun="cat").templates == ("a <V> CLASS in a boat", "a wet <V> CLASS")
    assert load_prompts(source, class_noun="cat", live=False).templates == (
        "a <V> CLASS on a shelf",
        "a <V> CLASS at the king's table",
    )
    assert load_prompts(write(tmp_path, LIKE_OFFICIAL.replace("\n", "\r\n")), class_noun="cat").templates == (
        "a <V> CLASS in a boat",
        "a wet <V> CLASS",
    )


@pytest.mark.parametrize(
    "line",
    ["__import__('os').system('true'),", "'a {0} {2}'.format(unique_token, class_token),", "'a {0} {1}',"],
)
def test_official_form_with_a_foreign_line(tmp_path: Path, line: str) -> None:
    """A line that is not a prompt is named with its number, and not executed."""
    text = LIKE_OFFICIAL.replace("\n\n'a wet", f"\n{line}\n'a wet")
    assert f"line 19: {line!r} is not a prompt" in refusal(write(tmp_path, text))


def test_official_form_without_the_list(tmp_path: Path) -> None:
    """Half a download is refused instead of drawing the other kind's prompts."""
    text = LIKE_OFFICIAL.partition("Live Subject")[0]
    assert "has no list under 'Live Subject Prompts'" in refusal(write(tmp_path, text))


@pytest.mark.skipif(not OFFICIAL.is_file(), reason="needs DreamBooth's prompts in shared/data/dreambooth")
def test_the_official_file_itself() -> None:
    """Both lists whole: 25 each, in order, the placeholder and CLASS in the braces' places."""
    live = load_prompts(str(OFFICIAL), class_noun="dog").templates
    objects = load_prompts(str(OFFICIAL), class_noun="vase").templates
    assert (len(live), len(objects)) == (25, 25)
    assert live[0] == objects[0] == "a <V> CLASS in the jungle"
    assert live[10] == "a <V> CLASS wearing a red hat"
    assert objects[10] == "a <V> CLASS with a wheat field in the background"
    assert live[20:] == objects[20:]
    assert all("<V> CLASS" in template and "{" not in template for template in live + objects)


@given(some.binary(max_size=300) | some.text(max_size=200).map(str.encode))
@settings(max_examples=200)
def test_any_file_is_a_list_or_refused(tmp_path_factory, data: bytes) -> None:
    """Whatever the bytes, prompts come out as single lines of text, or PromptError names the file."""
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_bytes(data)
    try:
        templates = load_prompts(str(path), class_noun="cat").templates
    except PromptError as error:
        message, templates = str(error), ()
    assert templates or "any.txt" in message
    assert len(set(templates)) == len(templates)
    for template in templates:
        assert template == " ".join(template.split())
        assert not template.startswith("#")
        template.encode()


@pytest.mark.parametrize("text", ["x = [\n" * 20_000, "prompt_list = [" + "a\n" * 100_000, "'" * 50_000])
def test_dreambooths_form_takes_no_longer_than_its_length(tmp_path: Path, text: str) -> None:
    """The patterns that find its lists do not search a hostile file again from every line."""
    started = time.perf_counter()
    with pytest.raises(PromptError):
        load_prompts(
            str(write(tmp_path, text + "\nprompt_list = [\n'{0}'.format(unique_token, class_token)")),
            class_noun="cat",
        )
    assert time.perf_counter() - started < 2
