"""The README's picture: the photos of a run's concept, and what the base and the run draw of it.

python docs/picture.py RUN docs/demo.jpg, after `coeffdream generate --floor`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from coeffdream.records.images import ImageRecord, find_set
from coeffdream.records.run import RunFolder

CELL, GAP, MARGIN, LABEL = 148, 8, 28, 28
INK, FAINT, PAPER = (32, 32, 36), (110, 110, 116), (255, 255, 255)
COLUMNS = 7


def main(run: RunFolder, file: Path) -> None:
    record = run.read()
    if record.concept is None:
        raise SystemExit(f"{run.path} learned from no photos")
    photos = [Path(record.concept.folder) / image.file for image in record.concept.images][:5]
    adapted, base = find_set(run.images, "benchmark"), find_set(run.images, "benchmark-base")
    with_adapter = {image.index: image for image in adapted.read_images()}
    without = {image.index: image for image in base.read_images()}
    per_prompt = adapted.read_set().images_per_prompt
    prompts = len(with_adapter) // per_prompt
    # Evenly over the prompt list, always the first image of a prompt: nothing is picked by hand.
    chosen = [round(i * (prompts - 1) / (2 * COLUMNS - 1)) * per_prompt for i in range(2 * COLUMNS)]

    width = 2 * MARGIN + COLUMNS * CELL + (COLUMNS - 1) * GAP
    height = 2 * MARGIN + 5 * CELL + 3 * LABEL + 4 * 22 + 3 * GAP
    sheet = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    y = MARGIN
    y = _heading(pen, y, f"{len(photos)} photos go in")
    for column, photo in enumerate(photos):
        _paste(sheet, photo, column, y)
    y += CELL + 2 * GAP
    for title, folder, images in (
        (f"the untouched base, asked for “sks {record.class_noun}”", base.path, without),
        (
            f"after {record.config.steps} steps of {record.method}, same prompts, same seeds",
            adapted.path,
            with_adapter,
        ),
    ):
        y = _heading(pen, y, title)
        for row in range(2):
            for column in range(COLUMNS):
                image = images[chosen[row * COLUMNS + column]]
                _paste(sheet, folder / image.file, column, y)
                _caption(pen, image, column, y + CELL + 3)
            y += CELL + 22
        y += GAP
    sheet.save(file, "JPEG", quality=92)


def _heading(pen: ImageDraw.ImageDraw, y: int, text: str) -> int:
    pen.text((MARGIN, y), text, INK, ImageFont.load_default(18))
    return y + LABEL


def _paste(sheet: Image.Image, file: Path, column: int, y: int) -> None:
    with Image.open(file) as opened:
        picture = opened.convert("RGB").resize((CELL, CELL), Image.Resampling.LANCZOS)
    sheet.paste(picture, (MARGIN + column * (CELL + GAP), y))


def _caption(pen: ImageDraw.ImageDraw, image: ImageRecord, column: int, y: int) -> None:
    text, font = image.prompt.replace("a <V> ", "").replace("<V> ", ""), ImageFont.load_default(12)
    while pen.textlength(text, font) > CELL:
        text = text[:-2].rstrip() + "…"
    pen.text((MARGIN + column * (CELL + GAP), y), text, FAINT, font)


if __name__ == "__main__":
    main(RunFolder(Path(sys.argv[1])), Path(sys.argv[2]))
