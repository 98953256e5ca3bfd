"""What is read is a regular file of a stated size; what it holds is text and finite numbers, however it was saved."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from coeffdream.errors import ConfigError, RunError
from coeffdream.records.files import parse_json, read_json, read_jsonl
from coeffdream.records.reading import read_bytes, read_text
from coeffdream.records.settings import read_toml


@pytest.fixture
def file(tmp_path):
    """A file of the given bytes."""

    def written(content: bytes, name: str = "some.json") -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return written


class TestWhatIsNoFile:
    """Nothing is waited for, and nothing is read without end."""

    def test_a_pipe(self, tmp_path):
        """Opening a pipe that nobody writes to would wait for ever."""
        os.mkfifo(tmp_path / "run.json")
        with pytest.raises(RunError, match=r"run\.json is a pipe, not a file"):
            read_json(tmp_path / "run.json")

    def test_a_device(self, tmp_path):
        """/dev/zero has no end."""
        (tmp_path / "run.json").symlink_to("/dev/zero")
        with pytest.raises(RunError, match="is a device, not a file"):
            read_json(tmp_path / "run.json")

    def test_a_folder(self, tmp_path):
        """A folder of that name."""
        with pytest.raises(RunError, match="is a folder, not a file"):
            read_json(tmp_path)

    def test_a_loop_of_links(self, tmp_path):
        """The system's own refusal, which the command line turns into a line."""
        (tmp_path / "a").symlink_to("b")
        (tmp_path / "b").symlink_to("a")
        with pytest.raises(OSError, match="Too many levels"):
            read_json(tmp_path / "a")

    def test_a_larger_file_than_stated(self, file):
        """Told from its size; a hole of a terabyte takes no memory."""
        path = file(b"{}")
        os.truncate(path, 1 << 40)
        with pytest.raises(RunError, match="has 1,099,511,627,776 bytes, above the limit of 268,435,456"):
            read_json(path)

    def test_the_limit_itself_is_allowed(self, file):
        """A file of exactly the stated size is read whole."""
        assert read_bytes(file(b"12345"), limit=5) == b"12345"
        with pytest.raises(RunError):
            read_bytes(file(b"123456"), limit=5)


class TestText:
    """Text files as editors save them."""

    def test_a_byte_order_mark_is_no_text(self, file):
        """Notepad writes one; it is no part of the first line."""
        assert read_text(file(b"\xef\xbb\xbfa cat")) == "a cat"

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            ("a\nKätzchen".encode("cp1252"), "line 2 is not UTF-8 text"),
            ("a cat".encode("utf-16"), "line 1 is UTF-16"),
            (b"a\nb\n\0\0", "line 3 holds NUL bytes"),
        ],
    )
    def test_another_encoding_is_named_with_its_line(self, content, says, file):
        """So that the place can be found in an editor."""
        with pytest.raises(ConfigError, match=says):
            read_text(file(content), error=ConfigError)


class TestJson:
    """What a record may hold: finite numbers, and text that can be written again."""

    @pytest.mark.parametrize("name", ["run.json", "images.jsonl"])
    def test_a_byte_order_mark_costs_no_record(self, name, file):
        """An editor on Windows put one before a run.json, which was called damaged and to be removed."""
        read = read_json if name == "run.json" else lambda path: read_jsonl(path)[0]
        assert read(file(b'\xef\xbb\xbf{"name": "cat"}', name)) == {"name": "cat"}

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
            ('{"a": ' * 100_000, "nested too deeply"),
            ("9" * 6000, "digits"),
            ('{"seed": NaN}', "NaN is no number of JSON"),
            ("[Infinity]", "Infinity is no number"),
            ("[-Infinity]", "-Infinity is no number"),
            ("[1e999]", "1e999 is beyond any number"),
            ('{"file": "a\\u0000.png"}', "holds a NUL"),
            ('{"prompt": "in \\ud83d"}', "half of a surrogate pair"),
            ('[{"a\\udc00": 1}]', "half of a surrogate pair"),
        ],
        ids=lambda text: text[:24],
    )
    def test_what_no_record_holds(self, text, says, file):
        """Each is damage with a remedy, not a traceback of the parser or of what comes after it."""
        with pytest.raises(RunError, match=says) as caught:
            read_json(file(text.encode()))
        assert "is damaged" in str(caught.value)
        assert len(str(caught.value)) < 600

    def test_a_whole_surrogate_pair_is_a_letter(self):
        """JSON of other tools escapes emoji so."""
        assert parse_json('"\\ud83d\\udc08"') == "🐈"

    values = some.recursive(
        some.none() | some.booleans() | some.integers(-(2**63), 2**63) | some.text() | some.floats(),
        lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.text(), inner, max_size=4),
        max_leaves=12,
    )

    @given(values, some.booleans())
    @settings(max_examples=200)
    def test_what_is_accepted_can_be_written_again(self, value, ascii_only):
        """Whatever JSON holds, it is refused with ValueError or comes back equal and fit for a UTF-8 file."""
        try:
            read = parse_json(json.dumps(value, ensure_ascii=ascii_only))
        except ValueError:
            return
        assert read == value
        json.dumps(read, ensure_ascii=False, allow_nan=False).encode()

    @given(some.binary(max_size=200))
    @settings(max_examples=200)
    def test_bytes_are_read_or_refused(self, tmp_path_factory, content):
        """No bytes make the readers of records raise anything but RunError."""
        path = tmp_path_factory.getbasetemp() / "record.json"
        path.write_bytes(content)
        for read in (read_json, read_jsonl):
            message = str(path)
            try:
                read(path)
            except RunError as error:
                message = str(error)
            assert str(path) in message


class TestToml:
    """Settings files as Windows and its people write them."""

    def test_byte_order_mark_and_line_ends(self, file):
        """Notepad's way of saving."""
        assert read_toml(file(b'\xef\xbb\xbfclass = "dog"\r\nlive = true\r\n'), ConfigError, "") == {
            "class": "dog",
            "live": True,
        }

    def test_backslashes_are_told_with_the_remedy(self, file):
        """A Windows path in double quotes is an escape that TOML does not know."""
        with pytest.raises(ConfigError, match="single quotes"):
            read_toml(file(b'concept = "C:\\Users\\me\\cat"\n'), ConfigError, "")

    @pytest.mark.parametrize("content", [b"a = " + b"[" * 100_000, b"steps = " + b"9" * 6000, b"= =", b"\0"])
    def test_what_is_no_toml(self, content, file):
        """One line of at most a few hundred characters."""
        with pytest.raises(ConfigError) as caught:
            read_toml(file(content), ConfigError, "write it so", option="--config")
        assert len(str(caught.value)) < 400

    @given(some.binary(max_size=200) | some.text(max_size=100).map(str.encode))
    @settings(max_examples=200)
    def test_bytes_are_read_or_refused(self, tmp_path_factory, content):
        """No bytes make it raise anything but the error asked for."""
        path = tmp_path_factory.getbasetemp() / "some.toml"
        path.write_bytes(content)
        message = str(path)
        try:
            read_toml(path, ConfigError, "")
        except ConfigError as error:
            message = str(error)
        assert str(path) in message
