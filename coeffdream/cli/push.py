"""`coeffdream push`: a run on the model hub, with a card."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from coeffdream.cli.terminal import ProgressDisplay, near, say, show_json, warn


def command(
    run: Annotated[str, typer.Argument(help="A run's name or folder.")],
    repo: Annotated[
        str, typer.Argument(metavar="OWNER/NAME", help="The repository; made if it is not there.")
    ],
    private: Annotated[
        bool, typer.Option("--private", help="Make the repository private; else a new one is public.")
    ] = False,
    licence: Annotated[
        str | None,
        typer.Option(
            "--license", help="As the hub names it, such as apache-2.0.", show_default="none stated"
        ),
    ] = None,
    photos: Annotated[
        bool, typer.Option("--photos", help="Publish the concept's photos and captions, too.")
    ] = False,
    set_name: Annotated[
        str | None,
        typer.Option(
            "--set", help="Which pictures and scores the card shows.", show_default="the newest benchmark"
        ),
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="Write the folder there, to be looked at, and push nothing.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Where run folders are kept.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Publish a run on the Hugging Face hub: adapter, record, and a card with pictures, scores and how to load it.

    Example: coeffdream push my_cat-coeff-lora me/my-cat --to look
    """
    from coeffdream.records.commands import command_line
    from coeffdream.records.run import find_run
    from coeffdream.report.card import model_card
    from coeffdream.sharing.hub import PREFIX, check_repo
    from coeffdream.sharing.publication import adapter_files, photo_files, write_publication
    from coeffdream.sharing.push import check_hub, push_folder

    check_repo(repo, repo)
    folder = find_run(run, runs)
    record = folder.read()
    files = adapter_files(folder, record)
    shown = photo_files(record) if photos else {}
    if to is None:
        check_hub()
    card = model_card(folder, record, repo, files, licence=licence, set_name=set_name, photos=shown)
    if record.base.kind in ("folder", "file"):
        base = Path(record.base.source or record.base.name).name
        warn(
            f"its base is a {record.base.kind} of yours: whoever draws with it needs {base}, and --base PATH"
        )
    if not card.pictures:
        warn("the card has no pictures; coeffdream generate draws some")
    if card.scores is None:
        warn("the card has no scores; coeffdream eval makes them")
    with tempfile.TemporaryDirectory() as scratch:
        target = to or Path(scratch) / "run"
        everything = {**files, **card.pictures, **shown}
        write_publication(target, record, card.text, everything, card.scores, captions=photos)
        if to is not None:
            if as_json:
                show_json({"run": str(folder.path), "folder": str(to)})
            else:
                say(f"written, and not pushed: {near(to)}")
            return
        message = f"{record.name}: {record.method}"
        with ProgressDisplay() as progress:
            pushed = push_folder(target, repo, private=private, message=message, progress=progress, warn=warn)
    if as_json:
        show_json({"run": str(folder.path), **vars(pushed)})
        return
    say(f"pushed to {pushed.url}, {'private' if pushed.private else 'public'}, commit {pushed.commit}")
    say(f"anywhere: {command_line('generate', '--run', PREFIX + repo, f'<V> {record.class_noun} in snow')}")
