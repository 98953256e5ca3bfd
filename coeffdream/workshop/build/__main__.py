"""`python -m coeffdream.workshop.build`: train the parts, then export what ships."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from coeffdream.toybox.paths import CLIP_SCORER, DINO_SCORER, WEIGHTS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m coeffdream.workshop.build", description=__doc__)
    parser.add_argument(
        "--part",
        default="all",
        choices=["world-sheet", "vae", "text", "clip", "dino", "unet", "decoder", "all"],
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--minutes", type=float, help="training time of each named part")
    parser.add_argument("--steps", type=int, help="instead of --minutes: the same weights on every run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--out", type=Path, default=Path(".coeffdream/toybox-build"))
    parser.add_argument(
        "--export", action="store_true", help="write what is trained into the package, in fp16"
    )
    options = parser.parse_args()

    import torch

    from coeffdream.workshop.build.loop import Budget

    if options.threads:
        torch.set_num_threads(options.threads)
    if options.export:
        export(options.out, list(PARTS) if options.part == "all" else [options.part])
        return
    if options.part == "world-sheet":
        from coeffdream.workshop.build.sheets import world_sheet

        world_sheet(options.out / "world.png")
        return
    budget = Budget(options.minutes, options.steps)
    for part in PARTS if options.part == "all" else [options.part]:
        module, function = PARTS[part]
        train = getattr(importlib.import_module(f"coeffdream.workshop.build.{module}"), function)
        train(options.out, budget, torch.device(options.device), options.seed)


def export(out: Path, parts: list[str]) -> None:
    """Write the newest checkpoints of `parts` into the package."""
    from coeffdream.workshop.build.clip import export_clip
    from coeffdream.workshop.build.dino import export_dino
    from coeffdream.workshop.build.export import export_pipeline

    if {"vae", "text", "unet", "decoder"} & set(parts):
        export_pipeline(out, WEIGHTS)
    if "clip" in parts:
        export_clip(out, CLIP_SCORER)
    if "dino" in parts:
        export_dino(out, DINO_SCORER)


# In the order in which they need each other.
PARTS = {
    "vae": ("vae", "train_vae"),
    "text": ("text", "train_text"),
    "clip": ("clip", "train_clip"),
    "dino": ("dino", "train_dino"),
    "unet": ("unet", "train_unet"),
    "decoder": ("vae", "train_decoder"),
}

if __name__ == "__main__":
    main()
