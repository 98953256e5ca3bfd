"""`coeffdream study ablation`: what alpha may be, one choice at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from coeffdream.cli.options import with_config_options
from coeffdream.cli.study_vit import run
from coeffdream.studies.ablation_options import AblationOptions


@with_config_options(AblationOptions)
def command(
    typed: dict[str, Any],
    out: Annotated[
        Path, typer.Option(help="Folder for every training, the figure and the numbers; what it has is kept.")
    ] = Path("study-ablation"),
    as_json: Annotated[bool, typer.Option("--json", help="Print every number as JSON.")] = False,
) -> None:
    """Change one thing of alpha at a time: parametrisation, dropout, layers, groups of heads (Table 5).

    Example: coeffdream study ablation --beside lora
    """
    run(
        AblationOptions(**typed),
        out,
        as_json,
        "against residual",
        "points of accuracy beyond residual (alpha' = I + alpha in every layer, no groups), with 95 % intervals over "
        "seeds; same task, seed, head and order; p of the mean, paired over seeds, corrected for the arms",
    )
