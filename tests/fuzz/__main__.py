"""Coverage-guided fuzzing of everything that reads what people hand in; see docs/reliability.md for the command.

Atheris is no dependency of the project: pip install atheris. A finding is printed with its bytes; each becomes
a test of the room that it is in.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["coeffdream", "PIL.PngImagePlugin", "PIL.ImageFile", "json", "csv"]):
    from coeffdream.data.concept import load_concept
    from coeffdream.data.images import load_image
    from coeffdream.data.prompts import load_prompts
    from coeffdream.errors import ConfigError, UserError
    from coeffdream.limits import layer_pattern
    from coeffdream.metrics.prompt_table import read_prompt_table
    from coeffdream.records.files import read_json, read_jsonl
    from coeffdream.records.settings import read_toml

FOLDER = Path(tempfile.mkdtemp())
FILE = FOLDER / "cat" / "file"
FILE.parent.mkdir()

READERS = [
    lambda data: load_image(FILE),
    lambda data: read_json(FILE),
    lambda data: read_jsonl(FILE),
    lambda data: read_toml(FILE, ConfigError, ""),
    lambda data: load_prompts(str(FILE), class_noun="cat"),
    lambda data: read_prompt_table(FILE, FOLDER),
    lambda data: load_concept(FILE.parent),
    lambda data: layer_pattern(data.decode(errors="replace")).search("up_blocks.0.attentions.1.attn1"),
]


def one(data: bytes) -> None:
    """The first byte chooses the reader, the others are its file; only a UserError may come of it."""
    if not data:
        return
    reader, content = READERS[data[0] % len(READERS)], data[1:]
    FILE.write_bytes(content)
    is_concept = data[0] % len(READERS) == 6
    caption = FILE.with_name("photo.txt")
    if is_concept:
        FILE.replace(caption)
    with contextlib.suppress(UserError, *([ValueError] if data[0] % len(READERS) == 7 else [])):
        reader(content)
    caption.unlink(missing_ok=True)


def seeds(folder: Path) -> None:
    """A first file of each kind, so that the fuzzer need not invent a PNG."""
    import io

    from PIL import Image

    Image.new("RGB", (40, 40)).save(FILE.with_name("photo.png"))
    for kind in ("PNG", "JPEG", "WEBP", "TIFF", "BMP"):
        stream = io.BytesIO()
        Image.effect_noise((40, 40), 30).save(stream, kind)
        (folder / kind).write_bytes(b"\0" + stream.getvalue())
    texts = {
        1: '{"a": [1, "\\ud83d\\udc08"]}',
        2: '{"a": 1}\n{"b": 2.5}\n',
        3: 'class = "cat"\nlive = true\n',
    }
    texts |= {
        4: "<V> cat\n# note\n",
        5: "file,prompt\na.png,a cat\n",
        6: "<V> CLASS on a sofa",
        7: "^mid_block",
    }
    for number, text in texts.items():
        (folder / str(number)).write_bytes(bytes([number]) + text.encode())


if __name__ == "__main__":
    corpus = Path(tempfile.mkdtemp())
    seeds(corpus)
    atheris.Setup([*sys.argv, str(corpus)], one)
    atheris.Fuzz()
