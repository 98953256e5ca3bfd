"""The model card of a run: what somebody who finds it on the hub needs, by huggingface_hub's own card classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from coeffdream import __version__
from coeffdream.config import flag_of
from coeffdream.errors import RunError
from coeffdream.methods import plain_method, takes_loras_place
from coeffdream.records.adapter_names import ADAPTER_FILES, CHANGES_FILE, CONFIG_FILE, MODEL_FILE
from coeffdream.records.files import sha256_of_file
from coeffdream.records.images import ImageRecord, SetFolder, SetRecord, find_set
from coeffdream.records.run import COEFF_FILE, LORA_FILE, RunFolder, RunRecord
from coeffdream.records.scores import ScoresRecord, read_scores
from coeffdream.report.readings import INTERVALS, intervals, readings, table

TEMPLATE = Path(__file__).parent / "templates" / "model_card.md"
SHOWN = 4  # pictures
PICTURES, PHOTOS = "pictures", "photos"
SETTINGS = ("preset", "rank", "steps", "lr", "batch_size", "grad_accum", "resolution", "seed")


@dataclass(frozen=True)
class Card:
    """text: README.md; pictures: what it shows, by the name in the repository; scores: those it tells of."""

    text: str
    pictures: dict[str, Path] = field(default_factory=dict)
    scores: ScoresRecord | None = None


def model_card(
    run: RunFolder,
    record: RunRecord,
    repo: str,
    files: Mapping[str, Path],
    *,
    licence: str | None = None,
    set_name: str | None = None,
    photos: Mapping[str, Path] | None = None,
) -> Card:
    """The card of a finished run that goes to `repo`.

    files: the adapter files that go with it, by their names there; photos: the concept's, if they are to go too.
    set_name: the set of pictures to show; None takes the newest benchmark of this very adapter, if there is one.

    Raises RunError for a set that is not there or that another adapter drew.
    """
    from huggingface_hub import ModelCard, ModelCardData

    chosen = _set_of(run, record, set_name)
    shown: list[tuple[str, ImageRecord, Path]] = []
    pictures: dict[str, Path] = {}
    scores = made = None
    if chosen is not None:
        folder, made = chosen
        shown = _few(folder)
        pictures = {name: path for name, _, path in shown}
        if folder.contact_sheet.is_file():
            pictures[f"{PICTURES}/{folder.contact_sheet.name}"] = folder.contact_sheet
        scores = _scores_of(folder)
    estimates = intervals(scores) if scores else {}
    headings, rows = table(scores, estimates) if scores else ([], [])
    trigger = f"{record.token} {record.class_noun}"
    hub_base = record.base.source if record.base.kind == "hub" else None
    data = ModelCardData(
        license=licence,
        base_model=hub_base,
        base_model_relation="adapter" if hub_base else None,
        library_name="diffusers" if LORA_FILE in files else "coeffdream",
        pipeline_tag="text-to-image",
        instance_prompt=f"a photo of {trigger}",
        tags=_tags(record),
        widget=[{"text": image.text, "output": {"url": name}} for name, image, _ in shown] or None,
    )
    card = ModelCard.from_template(
        data,
        template_path=str(TEMPLATE),
        run=record,
        repo=repo,
        trigger=trigger,
        base=_base_in_words(record),
        hub_base=hub_base,
        base_file=Path(record.base.source or record.base.name).name,
        shown=[(name, image.text) for name, image, _ in shown],
        sheet=next((name for name in pictures if name.endswith(".jpg")), None),
        made=made,
        photos=list(photos or {}),
        files=[(name, _holds(name), sha256_of_file(path)) for name, path in files.items()],
        portable=next((name for name in files if name not in ADAPTER_FILES), None),
        has_lora=LORA_FILE in files,
        has_alpha=COEFF_FILE in files,
        other=plain_method(record.method) if takes_loras_place(record.method) else None,
        scores=scores,
        prompts=Path(made.prompts).name if made else "",
        headings=headings,
        rows=rows,
        readings=readings(scores) if scores else [],
        how_intervals=INTERVALS if any(each.low is not None for each in estimates.values()) else "",
        settings=[(flag_of(name), getattr(record.config, name)) for name in SETTINGS],
        licence=licence,
        version=record.versions.get("coeffdream", __version__),
    )
    return Card(str(card), pictures, scores)


def _set_of(run: RunFolder, record: RunRecord, name: str | None) -> tuple[SetFolder, SetRecord] | None:
    """The set to show: only pictures of this adapter, and of nothing beside it, speak for it."""
    if name is not None:
        folder = find_set(run.images, name)
        made = folder.read_set()
        if made.settings.adapter != record.adapter or made.kind == "unrelated":
            raise RunError(
                f"--set {name} does not show what {record.name} has learned and nothing else; name another, or none"
            )
        return folder, made
    found = [
        (SetFolder(path.parent), SetFolder(path.parent).read_set()) for path in run.images.glob("*/set.json")
    ]

    def rank(each: tuple[SetFolder, SetRecord]) -> tuple[bool, bool, str]:
        settings = each[1].settings
        return (
            settings.lora_scale == settings.alpha_scale == 1.0,
            each[1].kind == "benchmark",
            each[1].created,
        )

    own = [
        each for each in found if each[1].settings.adapter == record.adapter and each[1].kind != "unrelated"
    ]
    return max(own, key=rank, default=None)


def _few(folder: SetFolder) -> list[tuple[str, ImageRecord, Path]]:
    """The first picture of prompts taken evenly from the list, as they were drawn."""
    rows = [row for row in folder.read_images() if row.image_index == 0]
    rows = [rows[number * len(rows) // SHOWN] for number in range(SHOWN)] if len(rows) > SHOWN else rows
    whole = [
        row
        for row in rows
        if (path := folder.path / row.file).is_file() and sha256_of_file(path) == row.sha256
    ]
    return [(f"{PICTURES}/{n}.png", row, folder.path / row.file) for n, row in enumerate(whole, start=1)]


def _scores_of(folder: SetFolder) -> ScoresRecord | None:
    """Its scores, unless the pictures were drawn anew since."""
    file = folder.path / "scores.json"
    if not file.is_file():
        return None
    scores = read_scores(file)
    drawn = {row.file: row.sha256 for row in folder.read_images()}
    return scores if {row.file: row.sha256 for row in scores.per_image} == drawn else None


def _tags(record: RunRecord) -> list[str]:
    low_rank = record.method.removeprefix("coeff-")
    kinds = {"lora": ["lora"], "dora": ["lora", "dora"], "coeff": []}.get(low_rank, [low_rank])
    mixing = ["coeff-tuning"] if record.method.startswith("coeff") else []
    return ["text-to-image", "stable-diffusion-xl", "dreambooth", *kinds, *mixing, "coeffdream"]


def _base_in_words(record: RunRecord) -> str:
    base = record.base
    if base.kind == "hub":
        return f"[{base.source}](https://huggingface.co/{base.source})"
    if base.kind == "toybox":
        return "the toybox, coeffdream's embedded miniature of SDXL"
    return f"{Path(base.source or base.name).name}, an SDXL model from a file of its author's"


def _holds(name: str) -> str:
    return {
        LORA_FILE: "the low-rank part, for diffusers and PEFT",
        COEFF_FILE: "alpha, the head mixing, for coeffdream and its ComfyUI node",
        MODEL_FILE: "the part of its method, in PEFT's own layout",
        CONFIG_FILE: "the options of that method, for PEFT",
        CHANGES_FILE: "what was added to the base's own weights",
    }.get(name, "the low-rank part, for ComfyUI, A1111, Forge and their kin")
