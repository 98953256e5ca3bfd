"""`coeffdream mask`: make the masks of a concept's photos."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from coeffdream.cli.terminal import (
    ProgressDisplay,
    doing,
    loading,
    near,
    say,
    say_file,
    show,
    show_json,
    warn,
)
from coeffdream.errors import ConfigError, counted


def command(
    concept: Annotated[Path, typer.Argument(help="The folder of photos.", metavar="FOLDER")],
    class_noun: Annotated[
        str | None, typer.Option("--class", help="What to look for.", show_default="the concept's class noun")
    ] = None,
    threshold: Annotated[
        float, typer.Option(help="How sure a pixel must be, above 0 and below 1; lower marks more.")
    ] = 0.3,
    again: Annotated[bool, typer.Option("--again", help="Make those anew that are there.")] = False,
    picture: Annotated[
        Path | None,
        typer.Option(help="Where photos and masks are shown.", show_default="NAME-masks.jpg here"),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="A CLIPSeg: hub id or folder.", show_default="CIDAS/clipseg-rd64-refined"),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print what was made as JSON.")] = False,
) -> None:
    """Mark the thing in each photo: NAME.mask.png beside it, made by a model that finds what a word names.

    Example: coeffdream mask my_cat --class cat
    """
    from coeffdream.cli.next_step import tell_next
    from coeffdream.data.concept import load_concept
    from coeffdream.data.masking import ALL_BUT, draw_masks, make_masks
    from coeffdream.tables import table

    if not 0 < threshold < 1:
        raise ConfigError(f"--threshold {threshold} must be above 0 and below 1")
    with doing(f"reading the photos in {concept}"):
        found = load_concept(concept, class_noun=class_noun, all_masked=False)
    photos = [image.path for image in found.images if again or image.mask_sha256 is None]
    if not photos:
        say(f"all photos in {near(concept)} have masks; --again makes them anew")
    made = []
    if photos:
        with loading("torch", "transformers"):
            from coeffdream.backbones.device import pick_device
            from coeffdream.metrics.segmenter import Segmenter

            segmenter = Segmenter(model, device=str(pick_device(device)))
        with ProgressDisplay() as progress:
            made = make_masks(found, photos, segmenter.shares, threshold, progress)
    file = picture or Path(f"{found.name}-masks.jpg")
    draw_masks([image.path for image in found.images], file)
    if as_json:
        show_json({"picture": str(file), "masks": [dataclasses.asdict(each) for each in made]})
    elif made:
        listed = table(f"a {found.class_noun} in {counted(len(made), 'photo')}")
        listed.add_column("mask", no_wrap=True)
        listed.add_column("of the photo", justify="right")
        listed.add_column("surest", justify="right")
        for each in made:
            listed.add_row(each.mask, f"{100 * each.share:.0f} %", f"{each.surest:.2f}")
        show(listed)
    for each in made:
        if each.share > ALL_BUT:
            warn(
                f"{each.mask} marks {100 * each.share:.0f} % of its photo; look at it, or give a higher --threshold"
            )
    say_file("look at them", file, "what is faded counts as background; draw over a mask that is wrong")
    tell_next("train", "--concept", near(concept), "--masked-loss")
