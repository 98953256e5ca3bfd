"""How every table in the terminal looks: a rule beneath the headings and no other line, as papers set them."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table


def table(title: str | None = None) -> Table:
    """An empty table without needless width, for 80 columns of a terminal hold little."""
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
