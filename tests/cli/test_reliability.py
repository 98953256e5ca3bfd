"""Every row of the table in docs/reliability.md is what the command line does."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from coeffdream.backbones.source import SDXL
from coeffdream.backbones.variants import STEMS
from coeffdream.cli.app import main
from coeffdream.config import TrainConfig
from coeffdream.records.base import BaseRecord
from coeffdream.records.run import RunFolder, RunRecord

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"
ROW = re.compile(r"\| (?P<what>[^|]+) \| `(?P<command>[^`]+)` \| (?P<status>\d+) \| (?P<message>.+) \|")
ROWS = [found for line in DOCUMENT.read_text().splitlines() if (found := ROW.fullmatch(line))]


RUN = '{"name": "r", "status": "complete", "created": "2026-01-01", "method": "lora"'
DEEP = "[" * 100_000

CAPTIONS = {
    "latin": "<V> Kätzchen".encode("latin-1"),
    "utf16": "<V> cat".encode("utf-16"),
    "nul": b"<V> cat\0\0",
    "empty": b"",
    "blank": b" \n\t\n",
    "plain": b"a cat on a sofa",
    "token": b"sks cat on a sofa",
    "large": b"<V> cat " * 600_000,
}
SETTINGS = {
    "broken": b"class = cat",
    "key": b'klass = "cat"',
    "type": b"class = 3",
    "live": b'live = "yes"',
    "latin": 'class = "Bär"'.encode("latin-1"),
    "deep": b"a = " + DEEP.encode(),
}
CONFIGS = {
    "broken": b"steps = = 3",
    "key": b"stepps = 3",
    "type": b'steps = "three"',
    "latin": 'class = "Bär"'.encode("latin-1"),
    "utf16": "steps = 3".encode("utf-16"),
    "nul": b"steps = 3\0",
    "path": rb'concept = "C:\Users\me\cat"',
    "digits": b"steps = " + b"9" * 6000,
    "deep": b"a = " + DEEP.encode(),
}
LISTS = {
    "latin": "<V> cat\n<V> Kätzchen".encode("latin-1"),
    "utf16": "<V> cat".encode("utf-16"),
    "nul": b"<V> cat\n\0",
    "empty": b"# nothing yet\n",
    "twice": b"<V> cat\n<V>  cat\n",
    "plain": b"a cat in snow\n",
    "large": b"<V> cat\n" * 600_000,
}
RECORDS = {
    "cut": (RUN + ', "config": {').encode(),
    "empty": b"",
    "list": b"[]",
    "object": b"{}",
    "null": b"null",
    "deep": DEEP.encode(),
    "digits": b"9" * 6000,
    "nan": (RUN + ', "steps_done": NaN}').encode(),
    "infinity": (RUN + ', "steps_done": Infinity}').encode(),
    "huge": (RUN + ', "steps_done": 1e999}').encode(),
    "nul": rb'{"name": "a\u0000"}',
    "surrogate": rb'{"name": "\ud83d"}',
    "utf16": "{}".encode("utf-16"),
    "latin": '{"name": "Bär"}'.encode("latin-1"),
}
# Runs without a fault of their own, each with its token, noun and architecture: what may not go together.
TRAINED = {
    "a-cat": ("sks", "cat", "a" * 64),
    "a-twin": ("sks", "cat", "a" * 64),
    "a-dog": ("zwx", "dog", "a" * 64),
    "an-owl": ("ohwx", "owl", "f" * 64),
}
TABLES = {
    "columns": b"name,prompt\na.png,a cat\n",
    "nul": b"file,prompt\np.png,a\0cat\n",
    "latin": "file,prompt\np.png,Kätzchen\n".encode("latin-1"),
    "outside": b"file,prompt\n../file,a cat\n",
    "absent": b"file,prompt\nq.png,a cat\n",
    "twice": b"file,prompt\np.png,a cat\np.png,a dog\n",
    "gap": b"file,prompt\np.png,\n",
    "rows": b"file,prompt\n",
    "field": b'file,prompt\n"' + b"x" * 200_000 + b'",a cat\n',
}


UNET = "model.diffusion_model."
TEXT = ("conditioner.embedders.0.transformer.ln", "conditioner.embedders.1.model.ln")


def unet(width: int, channels: int = 4) -> dict[str, tuple[int, ...]]:
    """The two tensors of a UNet that tell it, by the original names: the text it reads, and its channels."""
    reads = f"{UNET}input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
    return {f"{UNET}input_blocks.0.0.weight": (1, channels, 1, 1), reads: (1, width)}


ENCODERS = dict.fromkeys(TEXT, (1,))
VAE = {"first_stage_model.decoder.conv_in.weight": (1, 4, 1, 1)}
CHECKPOINTS = {
    "lora": {"lora_unet_mid_block.lora_up.weight": (2, 2)},
    "flux": {"double_blocks.0.img_attn.proj.bias": (2,)},
    "sd3": {f"{UNET}joint_blocks.0.x_block.attn.proj.bias": (2,)},
    "sd15": unet(768) | VAE,
    "sd2": unet(1024) | VAE,
    "refiner": unet(1280) | VAE,
    "inpainting": unet(2048, 9) | VAE | ENCODERS,
    "edm": unet(2048) | VAE | ENCODERS | {"edm_mean": (4,)},
    "unet": unet(2048),
    "without-vae": unet(2048) | ENCODERS,
    "without-text": unet(2048) | VAE,
    "vae": {"decoder.conv_in.weight": (1, 4, 1, 1)},
    "other": {"weight": (1,)},
}
# Folders with the configs of SDXL, but for a key of one of them.
ALTERED = {
    "refiner-folder": ("model_index.json", {"text_encoder": [None, None]}),
    "inpainting-folder": ("unet/config.json", {"in_channels": 9}),
    "sd3-folder": (
        "model_index.json",
        {"_class_name": "StableDiffusion3Pipeline", "transformer": ["a", "b"]},
    ),
    "flow-folder": ("scheduler/scheduler_config.json", {"_class_name": "FlowMatchEulerDiscreteScheduler"}),
    "edm-folder": ("scheduler/scheduler_config.json", {"_class_name": "EDMEulerScheduler"}),
    "pickled-folder": ("unet/config.json", {}),
}


def png(width: int, height: int) -> bytes:
    """The header of a PNG, with no pixels behind it."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [
        struct.pack(">I", len(each) - 4) + each + struct.pack(">I", zlib.crc32(each))
        for each in (header, b"IDAT")
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def build(folder: Path) -> None:
    """Fill an empty folder."""
    photo = Image.effect_noise((64, 48), 60).convert("RGB")

    def concept(name: str, file: str = "p.png", content: bytes | None = None) -> Path:
        (folder / name).mkdir(parents=True, exist_ok=True)
        if content is None:
            photo.save(folder / name / file)
        else:
            (folder / name / file).write_bytes(content)
        return folder / name

    def special(path: Path, *, pipe: bool = True) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(path) if pipe else path.symlink_to("/dev/zero")

    concept("cat")
    (folder / "file").write_text("notes\n")
    (folder / "nothing").mkdir()
    concept("above/cat")
    concept("10_sks")
    concept("2024")
    concept("notes", "notes.md", b"soon")
    for name, file, content in (
        ("text", "p.jpg", b"these are notes\n" * 9),
        ("zero", "p.png", b""),
        ("heic", "p.heic", b"\0\0\0\x18ftypheic"),
        ("video", "p.jpg", b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom"),
        ("raw", "p.dng", b"II*\0" + bytes(64)),
        ("bytes", "p.png", bytes(range(256))),
        ("bomb", "p.png", png(30_000, 20_000)),
        ("cut", "p.png", png(64, 48)),
    ):
        concept(name, file, content)
    Image.new("RGB", (16, 16)).save(concept("tiny", "p.png", b"") / "p.png")
    for name, size, mark in (
        ("mask_size", (32, 64), 255),
        ("mask_empty", (64, 64), 0),
        ("mask_some", (64, 64), 255),
    ):
        where = concept(name, "p.png", b"")
        for picture in ("p.png", *(["q.png"] if name == "mask_some" else [])):
            Image.new("RGB", (64, 64), (200, 90, 40)).save(where / picture)
        Image.new("L", size, mark).save(where / "p.mask.png")
    Image.new("F", (40, 40), 0.5).save(concept("depth", "p.tif", b"") / "p.tif")
    os.truncate(concept("hole", "p.png", png(64, 48)) / "p.png", 1 << 40)
    special(folder / "pipe" / "p.png")
    special(folder / "device" / "p.png", pipe=False)
    for name, target in (("loop", "p.png"), ("out", "../cat/p.png"), ("dangling", "gone.png")):
        (folder / name).mkdir()
        (folder / name / "p.png").symlink_to(target)
    concept("odd", os.fsdecode(b"caf\xe9.png"))
    for name, content in CAPTIONS.items():
        (concept(f"caption-{name}") / "p.txt").write_bytes(content)
    special(concept("caption-pipe") / "p.txt")
    (concept("caption-link") / "p.txt").symlink_to("../file")
    for name, content in SETTINGS.items():
        (concept(f"settings-{name}") / "concept.toml").write_bytes(content)
    special(concept("settings-pipe") / "concept.toml")
    for name, content in CONFIGS.items():
        (folder / f"{name}.toml").write_bytes(content)
    special(folder / "pipe.toml")
    special(folder / "device.toml", pipe=False)
    for name, content in LISTS.items():
        (folder / f"{name}.txt").write_bytes(content)
    special(folder / "pipe.txt")
    special(folder / "device.txt", pipe=False)
    for name, content in RECORDS.items():
        (folder / "runs" / name).mkdir(parents=True)
        (folder / "runs" / name / "run.json").write_bytes(content)
    for name, (token, noun, architecture) in TRAINED.items():
        base = BaseRecord("toybox", "toybox", "embedded", architecture, [0.5])
        config = TrainConfig(concept="cat", base="toybox")
        RunFolder(folder / "runs" / name).write(
            RunRecord(name, "complete", "2026-01-01", "lora", config, base, noun, token)
        )
    for name, content in TABLES.items():
        (folder / f"{name}.csv").write_bytes(content)
    special(folder / "pipe.csv")
    special(folder / "device.csv", pipe=False)
    (folder / "model.ckpt").write_bytes(b"\x80\x04.")
    for name, shapes in CHECKPOINTS.items():
        save_file({key: np.zeros(shape) for key, shape in shapes.items()}, folder / f"{name}.safetensors")
    (folder / "cut.safetensors").write_bytes((folder / "sd15.safetensors").read_bytes()[:-8])
    (folder / "zero.safetensors").touch()
    for name, (file, changes) in ALTERED.items():
        shutil.copytree(SDXL, folder / name)
        config = folder / name / file
        config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    for part, stem in STEMS.items():
        (folder / "pickled-folder" / part / f"{stem}.bin").write_bytes(b"\x80\x04.")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    build(folder)
    return folder


def answer(folder: Path, command: str, monkeypatch, capsys) -> tuple[int, str]:
    """The status, and the error in one line with the folder's own path left out."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["coeffdream", *shlex.split(command)])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err
    message = printed.err[printed.err.index("error: ") + len("error: ") :].strip().replace(f"{folder}/", "")
    return ended.value.code, " ".join(message.split())  # type: ignore[return-value]


def without_brackets(message: str) -> str:
    """Brackets hold the words of a parser, which change with its version."""
    return re.sub(r"\([^()]*\)", "", re.sub(r"\([^()]*\)", "", message))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["command"])
def test_row(row, hostile, monkeypatch, capsys):
    """The status and the whole message; nothing is written."""
    before = sorted(path.name for path in (hostile / "runs").iterdir())
    status, message = answer(hostile, row["command"].replace(r"\|", "|"), monkeypatch, capsys)
    assert status == int(row["status"])
    assert without_brackets(message) == without_brackets(row["message"].replace(r"\|", "|"))
    assert sorted(path.name for path in (hostile / "runs").iterdir()) == before


def test_the_table_is_there():
    """A change of its form must not leave it unread."""
    assert len(ROWS) >= 90
