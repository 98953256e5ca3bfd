"""A study's picture on disk, as PNG for the eye and SVG for print: equal figures are equal bytes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from coeffdream.records.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """Write STEM.png and STEM.svg. An SVG has neither a date nor names left to chance."""
    from matplotlib import rc_context

    files = [stem.with_suffix(".png"), stem.with_suffix(".svg")]
    for file in files:
        undated: dict[str, None] = {"Date": None} if file.suffix == ".svg" else {}
        with replacing(file) as temporary, rc_context({"svg.hashsalt": "coeffdream"}):
            figure.savefig(temporary, format=file.suffix[1:], dpi=150, metadata=undated)
    return files
