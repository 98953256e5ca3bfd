"""Putting a run's adapter, those of several runs, and those of other tools into a base that is about to draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from coeffdream.adapters.files import adapter_hashes, load_adapter
from coeffdream.adapters.install import Adapter
from coeffdream.adapters.lora import compute_in_base_dtype
from coeffdream.backbones.load import Components
from coeffdream.errors import AdapterError, ConfigError, RunError
from coeffdream.generation.request import GenerateRequest
from coeffdream.generation.together import Learned, Share, put_together, taken_out
from coeffdream.interop.attach import Attachment, attach
from coeffdream.interop.choice import IMPORTED_FILE, LoraChoice
from coeffdream.interop.names import TEXT_ENCODERS, UNET
from coeffdream.interop.read import OtherAdapter, read_adapter
from coeffdream.records.base import same_weights
from coeffdream.records.checkpoints import checkpoint_folder, find_checkpoint
from coeffdream.records.claim import in_use, is_held
from coeffdream.records.commands import adapter_words, command_line, resume_command
from coeffdream.records.files import sha256_of_file
from coeffdream.records.run import RunFolder, RunRecord

Weighted = Sequence[tuple[OtherAdapter, float]]


@dataclass(frozen=True)
class PutOn:
    """What is in force on a base that draws. changes_text: prompts are encoded otherwise with it than without."""

    adapter: Adapter | None
    attachment: Attachment
    changes_text: bool

    def take_off(self) -> None:
        self.attachment.remove()
        if self.adapter is not None:
            self.adapter.uninstall()


def other_choices(request: GenerateRequest, run: RunFolder) -> list[LoraChoice]:
    """The adapters of other tools that `request` draws with; an imported run's own is one of them."""
    imported = run.adapter / IMPORTED_FILE
    own = not request.no_adapter and request.checkpoint is None and imported.is_file()
    return [*([LoraChoice(imported, request.lora_scale)] if own else []), *request.loras]


def ready(request: GenerateRequest, run: RunFolder, record: RunRecord) -> RunRecord:
    """`record`, or what has become of it since it was read. Raises RunError, InUseError when there is nothing to
    draw with, in the run, in its checkpoint or in one of its parts."""
    if request.checkpoint is not None:
        find_checkpoint(run.checkpoints, request.checkpoint)
        return record
    if not record.parts:
        return trained(run, record)
    if len(request.weights) != len(record.parts):
        return trained(run, record)
    for part in record.parts:
        folder = RunFolder(Path(part.folder))
        trained(folder, folder.read())
        if hashes_of(folder) != part.adapter:
            raise in_use(folder.path, f"run {part.name}", "draw again when that has ended")
    return record


def trained(run: RunFolder, record: RunRecord) -> RunRecord:
    """`record`, or what has become of it since it was read. Raises RunError when there is nothing to draw with."""
    if record.status == "training":
        if is_held(run.path):
            raise in_use(run.path, f"run {record.name}", "draw when that has ended")
        record = run.read()  # whoever trained it may have ended between the two looks
    if record.status == "base":
        raise RunError(f"{record.name} trained nothing; add --no-adapter, or name a trained --run")
    if record.status == "several":
        line = command_line("generate", *adapter_words(record.parts))
        raise RunError(f"{record.name} holds pictures of several runs together; draw with: {line}")
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
) -> PutOn:
    """Install what `request` draws with. Raises AdapterError, and ConfigError for a scale that the method has not."""
    models = {name: getattr(components, name) for name in (UNET, *TEXT_ENCODERS)}
    if request.no_adapter or not record.parts:
        adapter = None
        if not request.no_adapter:
            _warn_of_other_weights(components, record, warn)
            if request.checkpoint is not None or not (run.adapter / IMPORTED_FILE).is_file():
                # What a checkpoint must be its state.json says, which `ready` held it against.
                wanted = record.adapter if request.checkpoint is None else {}
                adapter = _loaded(components, _own_folder(request, run), record.method, wanted, warn)
                try:
                    adapter.set_scales(lora=request.lora_scale, alpha=request.alpha_scale)
                except ConfigError:
                    adapter.uninstall()
                    raise
        return PutOn(adapter, attach(others, models), _changes_text([each for each, _ in others]))
    shares = []
    for part, weight in zip(record.parts, request.weights, strict=True):
        learned = _learned(components, RunFolder(Path(part.folder)), warn)
        shares.append(Share(learned, weight * request.lora_scale, weight * request.alpha_scale))
    together = put_together(models, shares, others)
    own = [share.learned.matrices for share in shares if share.learned.matrices]
    changes_text = _changes_text([*own, *(each for each, _ in others)])
    return PutOn(together.mixing, together.attachment, changes_text)


def adapter_hashes_of(
    request: GenerateRequest, run: RunFolder, record: RunRecord, others: Weighted
) -> dict[str, str]:
    """sha256 of every adapter file that a set is drawn with, by name; of several runs by the run's name and the file's."""
    own = {} if request.no_adapter else adapter_hashes(_own_folder(request, run))
    for part in [] if request.no_adapter else record.parts:
        found = hashes_of(RunFolder(Path(part.folder)))
        own |= {f"{part.name}/{name}": sha256 for name, sha256 in found.items()}
    return own | {adapter.file.name: adapter.sha256 for adapter, _ in others}


def _own_folder(request: GenerateRequest, run: RunFolder) -> Path:
    """Where the run's own adapter lies that `request` draws with."""
    return (
        run.adapter if request.checkpoint is None else checkpoint_folder(run.checkpoints, request.checkpoint)
    )


def hashes_of(run: RunFolder) -> dict[str, str]:
    """sha256 of each file that a run draws with, by name: those that it learned, or what was imported."""
    imported = run.adapter / IMPORTED_FILE
    return {IMPORTED_FILE: sha256_of_file(imported)} if imported.is_file() else adapter_hashes(run.adapter)


def in_words(request: GenerateRequest, record: RunRecord) -> str:
    """What a set is drawn with, as its contact sheet says it."""
    done = record.steps_done if request.checkpoint is None else request.checkpoint
    steps = f", {done} steps" if done else ""
    own = [f"{name}:{weight:g}" for name, weight in request.by_name(record.parts).items()]
    own = own or [f"{record.method}{steps}"]
    return " + ".join([*([] if request.no_adapter else own), *request.loras_shown])


def _changes_text(adapters: Sequence[OtherAdapter]) -> bool:
    return any(component != UNET for adapter in adapters for component in adapter.changes)


def _warn_of_other_weights(components: Components, record: RunRecord, warn: Callable[[str], None]) -> None:
    if not same_weights(record.base.sketch, components.sketch):
        warn(
            f"{record.name} was trained on other weights of this architecture ({record.base.name}); "
            "likeness may suffer"
        )


def _learned(components: Components, run: RunFolder, warn: Callable[[str], None]) -> Learned:
    """What a run learned; the UNet is left as it is."""
    record = run.read()
    _warn_of_other_weights(components, record, warn)
    imported = run.adapter / IMPORTED_FILE
    if imported.is_file():
        adapter = read_adapter(imported, components.unet)
        return Learned(adapter.sha256, adapter, {})
    own = _loaded(components, run.adapter, record.method, record.adapter, warn)
    return taken_out(own, run.adapter)


def _loaded(
    components: Components, folder: Path, method: str, wanted: dict[str, str], warn: Callable[[str], None]
) -> Adapter:
    adapter = load_adapter(components.unet, folder, components.architecture, warn)
    if adapter.spec.method != method:
        adapter.uninstall()
        raise AdapterError(
            f"{folder} holds a {adapter.spec.method} adapter where run.json says {method}; "
            "a file is missing or was replaced, so put the original files back"
        )
    if wanted and wanted != adapter_hashes(folder):
        adapter.uninstall()
        raise AdapterError(
            f"{folder} is not the adapter that run.json says was trained; put the original files back, or train again"
        )
    compute_in_base_dtype(adapter)
    return adapter
