"""Putting a run's adapter, and those of other tools, into a base that is about to draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from coeffdream.adapters.files import adapter_hashes, load_adapter
from coeffdream.backbones.load import Components
from coeffdream.errors import AdapterError, RunError
from coeffdream.generation.request import GenerateRequest
from coeffdream.interop.attach import attach
from coeffdream.interop.choice import IMPORTED_FILE, LoraChoice
from coeffdream.interop.names import TEXT_ENCODERS, UNET
from coeffdream.interop.read import OtherAdapter, read_adapter
from coeffdream.records.base import same_weights
from coeffdream.records.claim import in_use, is_held
from coeffdream.records.commands import resume_command
from coeffdream.records.run import RunFolder, RunRecord

Weighted = Sequence[tuple[OtherAdapter, float]]


def other_choices(request: GenerateRequest, run: RunFolder) -> list[LoraChoice]:
    """The adapters of other tools that `request` draws with; an imported run's own is one of them."""
    imported = run.adapter / IMPORTED_FILE
    own = not request.no_adapter and imported.is_file()
    return [*([LoraChoice(imported, request.lora_scale)] if own else []), *request.loras]


def trained(run: RunFolder, record: RunRecord) -> RunRecord:
    """`record`, or what has become of it since it was read. Raises RunError when there is nothing to draw with."""
    if record.status == "training":
        if is_held(run.path):
            raise in_use(run.path, f"run {record.name}", "draw when that has ended")
        record = run.read()  # whoever trained it may have ended between the two looks
    if record.status == "base":
        raise RunError(f"{record.name} trained nothing; add --no-adapter, or name a trained --run")
    if record.status == "diverged":
        raise RunError(
            f"{record.name} diverged, so there is nothing in it to draw with; train again with a smaller --lr "
            f"(it was {record.config.lr:g})"
        )
    if record.status != "complete":
        raise RunError(
            f"{record.name} is {record.status} after {record.steps_done} of {record.config.steps} steps; finish it "
            f"with: {resume_command(run)}"
        )
    return record


def read_others(components: Components, request: GenerateRequest, run: RunFolder) -> Weighted:
    """Those adapters and their weights. The UNet must be untouched: its names tell the modules. Raises AdapterError."""
    return [
        (read_adapter(choice.file, components.unet), choice.weight) for choice in other_choices(request, run)
    ]


def put_on(
    components: Components,
    request: GenerateRequest,
    run: RunFolder,
    record: RunRecord,
    others: Weighted,
    warn: Callable[[str], None],
) -> None:
    """Install what `request` draws with. Raises AdapterError."""
    if not request.no_adapter:
        if not same_weights(record.base.sketch, components.sketch):
            warn(
                f"{record.name} was trained on other weights of this architecture ({record.base.name}); "
                "likeness may suffer"
            )
        if not (run.adapter / IMPORTED_FILE).is_file():
            _install(components, run, record, request, warn)
    names = (UNET, *TEXT_ENCODERS)
    attach(others, {name: getattr(components, name) for name in names})


def changes_text(others: Weighted) -> bool:
    """Whether prompts are encoded otherwise with them."""
    return any(component != UNET for adapter, _ in others for component in adapter.changes)


def adapter_hashes_of(request: GenerateRequest, run: RunFolder, others: Weighted) -> dict[str, str]:
    """sha256 of every adapter file that a set is drawn with, by name."""
    own = {} if request.no_adapter else adapter_hashes(run.adapter)
    return own | {adapter.file.name: adapter.sha256 for adapter, _ in others}


def _install(
    components: Components,
    run: RunFolder,
    record: RunRecord,
    request: GenerateRequest,
    warn: Callable[[str], None],
) -> None:
    adapter = load_adapter(components.unet, run.adapter, components.architecture, warn)
    if adapter.spec.method != record.method:
        adapter.uninstall()
        raise AdapterError(
            f"{run.adapter} holds a {adapter.spec.method} adapter where run.json says {record.method}; "
            "a file is missing or was replaced, so put the original files back"
        )
    if record.adapter and record.adapter != adapter_hashes(run.adapter):
        adapter.uninstall()
        raise AdapterError(
            f"{run.adapter} is not the adapter that run.json says was trained; put the original files back, or train again"
        )
    adapter.set_scales(lora=request.lora_scale, alpha=request.alpha_scale)
