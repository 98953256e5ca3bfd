"""`coeffdream doctor --attention`: which way to mixed attention this machine takes, and why not the others."""

from __future__ import annotations

import dataclasses
from typing import Any

from coeffdream.cli.terminal import doing, loading, near, say, show, show_json

SIDE = 1024  # pixels; SDXL's own
BATCHES = (1, 2)  # a photo; a picture with and without its prompt


def tell(*, renew: bool, as_json: bool) -> None:
    """Print it for every layer of SDXL, measured now where it was not yet."""
    with loading("torch"):
        import torch

        from coeffdream.attention.calibrate import ShapeClass
        from coeffdream.attention.calibrations import CalibrationFile, card_of
        from coeffdream.attention.choice import calibrates, known_or_measured, rule
        from coeffdream.backbones.device import pick_device, pick_dtype
        from coeffdream.bench.attention import sdxl_shapes

    device = pick_device("auto")
    dtype = pick_dtype("auto", device)
    file = CalibrationFile.here()
    if renew:
        file.forget(device)
    found: dict[str, Any] = {}
    with doing("measuring attention"):
        for shape in [each for batch in BATCHES for each in sdxl_shapes(SIDE, batch)]:
            query, key = (
                torch.empty(shape.batch, shape.heads, length, shape.head_dim, dtype=dtype, device="meta")
                for length in (shape.queries, shape.keys)
            )
            of = ShapeClass.of(query, key)
            if calibrates(device):
                found[of.name] = dataclasses.asdict(known_or_measured(of, device))
            else:
                found[of.name] = {"backend": rule(query, key), "seconds": {}, "refused": {}}
    if as_json:
        show_json({"device": card_of(device), "file": str(file.path), "classes": found})
        return
    show(_table(found))
    if calibrates(device):
        say(
            f"{card_of(device)}: forward and backward, each held against the definition; kept in {near(file.path)}"
        )
    else:
        say("On a CPU the choice is a rule of the shapes, so that equal runs are equal; nothing is measured.")


def _table(found: dict[str, Any]) -> Any:
    from coeffdream.tables import table

    made = table()
    for heading in ("dtype and B x H x N x M x d", "taken", "ms", "not used"):
        made.add_column(heading)
    for name, verdict in found.items():
        times = ", ".join(f"{each} {seconds * 1e3:.3g}" for each, seconds in verdict["seconds"].items())
        refused = "; ".join(f"{each}: {why}" for each, why in verdict["refused"].items())
        made.add_row(name, verdict["backend"], times, refused)
    return made
