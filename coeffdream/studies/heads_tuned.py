"""What alpha gains on a task by the number of heads: a small vision transformer for each, as `study vit` has them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from coeffdream.progress import Progress
from coeffdream.studies.summary import ArmSummary, summarize
from coeffdream.studies.vit import study
from coeffdream.studies.vit_options import VitOptions


def tune_heads(
    out: Path, counts: Sequence[int], task: str, progress: Progress
) -> list[tuple[int, list[ArmSummary]]]:
    """Linear probing and alpha alone, after a pretraining a fifth as long as `study vit` has it; kept in OUT/tuned/HEADS,
    so that what was interrupted goes on."""
    made = []
    for heads in counts:
        options = VitOptions(
            tasks=task, heads=heads, arms="linear,coeff", pretrain_images=3000, pretrain_epochs=8
        )
        cells = study(out / "tuned" / str(heads), options, progress)
        made.append((heads, summarize(cells, options.against)))
    return made
