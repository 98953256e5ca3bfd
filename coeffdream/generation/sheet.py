"""The contact sheet of a set: every image in one picture, under its prompt."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from coeffdream.records.files import replacing
from coeffdream.records.images import ImageRecord, SetFolder

PICTURES = 400  # more are too small to see, and too much for one picture
BLOCK_WIDTH = 560  # pixels for one prompt's row of images
GAP, MARGIN, CAPTION = 6, 24, 30
LONGEST = 400  # characters of a prompt; none that is longer fits a block
INK, PAPER = (38, 38, 42), (250, 250, 248)


def sheet_of(folder: SetFolder, total: int, title: str, warn: Callable[[str], None]) -> None:
    """The sheet of a set of `total` pictures. It is a view of a set that is whole without it, so its failure is only told."""
    shown = [image for _, image in itertools.islice(folder.rows(), PICTURES)]
    part = f" · the first {len(shown)} of {total} pictures" if len(shown) < total else ""
    try:
        contact_sheet(folder.path, shown, folder.contact_sheet, title + part)
    except Exception as error:
        warn(f"no contact sheet of {folder.path}: {error}; all pictures are there")


def contact_sheet(folder: Path, images: list[ImageRecord], file: Path, title: str) -> None:
    """Draw the images of a manifest as blocks of one prompt each, in as square an arrangement as fits."""
    by_prompt: dict[int, list[ImageRecord]] = {}
    for image in images:
        by_prompt.setdefault(image.prompt_index, []).append(image)
    per_row = min(max(len(block) for block in by_prompt.values()), 4)
    cell = (BLOCK_WIDTH - GAP * (per_row - 1)) // per_row if per_row > 1 else BLOCK_WIDTH // 2
    width = per_row * cell + GAP * (per_row - 1)
    heights = [math.ceil(len(block) / per_row) * (cell + GAP) + CAPTION for block in by_prompt.values()]
    block_height = max(heights)
    columns = max(1, min(len(by_prompt), round(math.sqrt(len(by_prompt) * block_height / width))))
    rows = math.ceil(len(by_prompt) / columns)

    heading = 56
    sheet = Image.new(
        "RGB",
        (columns * (width + MARGIN) + MARGIN, heading + rows * (block_height + MARGIN // 2) + MARGIN),
        PAPER,
    )
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, 18), _fitted(pen, title, _font(22), sheet.width - 2 * MARGIN), INK, _font(22))
    for number, block in enumerate(by_prompt.values()):
        left = MARGIN + (number % columns) * (width + MARGIN)
        top = heading + (number // columns) * (block_height + MARGIN // 2)
        for position, image in enumerate(block):
            with Image.open(folder / image.file) as opened:
                # Small pictures are enlarged smoothly, so that the sheet reads the same at every size.
                thumbnail = opened.convert("RGB").resize((cell, cell), Image.Resampling.LANCZOS)
            sheet.paste(
                thumbnail,
                (left + (position % per_row) * (cell + GAP), top + (position // per_row) * (cell + GAP)),
            )
        caption_top = top + math.ceil(len(block) / per_row) * (cell + GAP)
        pen.text((left, caption_top), _fitted(pen, block[0].prompt, _font(17), width), INK, _font(17))
    with replacing(file) as temporary:
        sheet.save(temporary, "JPEG", quality=90)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _fitted(
    pen: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int
) -> str:
    """`text` on one line, cut with an ellipsis where it is wider than `width` pixels."""
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in text[:LONGEST]).split())
    if pen.textlength(text, font) <= width:
        return text
    while text and pen.textlength(text + "…", font) > width:
        text = text[:-1]
    return text.rstrip() + "…"
