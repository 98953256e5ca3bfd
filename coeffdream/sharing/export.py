"""A run in the form that another tool loads, or merged into a copy of its base."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from coeffdream.adapters.files import load_adapter
from coeffdream.adapters.install import Adapter
from coeffdream.adapters.merged import merged
from coeffdream.backbones.base import SETTINGS_FILE, Base
from coeffdream.backbones.device import DTYPES
from coeffdream.backbones.load import Components, load_components
from coeffdream.errors import AdapterError, ConfigError
from coeffdream.interop.beside import about_run
from coeffdream.interop.changes import Change, nearest_low_rank
from coeffdream.interop.metadata import About
from coeffdream.interop.names import portable_name
from coeffdream.interop.write import changes_of, write_diffusers, write_kohya
from coeffdream.methods import takes_loras_place
from coeffdream.progress import Progress
from coeffdream.records.base import same_weights
from coeffdream.records.run import LORA_FILE, RunFolder, RunRecord
from coeffdream.sharing.approximate import FARTHEST, Approximation, approximate_run
from coeffdream.sharing.finished import check_finished

Form = Literal["comfyui", "diffusers", "merged"]
EXPORTS = "export"


@dataclass(frozen=True)
class ExportRequest:
    """as_lora: the rank of the LoRA that takes the place of what was trained. precision: of a merged base.

    approximate_alpha: the rank that to_out gets to hold alpha as nearly as it can; force: however far that is.
    """

    form: Form = "comfyui"
    as_lora: int | None = None
    approximate_alpha: int | None = None
    force: bool = False
    without_alpha: bool = False
    precision: str = "fp32"
    output: Path | None = None

    def check(self, record: RunRecord) -> None:
        """Raises ConfigError, RunError before anything is loaded."""
        check_finished(record, "exported")
        if self.approximate_alpha is not None:
            self._check_approximation(record)
        elif self.as_lora is None and self.form != "merged" and takes_loras_place(record.method):
            raise ConfigError(
                f"{record.name} learned {record.method}, which is no LoRA; add --as-lora RANK for the nearest one, or "
                "--format merged"
            )
        elif record.method == "coeff":
            raise ConfigError(
                f"{record.name} holds only head mixing, which no other form can hold; use it with coeffdream, with "
                "its ComfyUI node, or add --approximate-alpha RANK"
            )
        if self.as_lora is not None and self.as_lora < 1:
            raise ConfigError(f"--as-lora {self.as_lora} must be at least 1")
        if self.form == "merged":
            if self.as_lora is not None:
                raise ConfigError(
                    "--format merged is exact, so --as-lora has nothing to do there; leave it out"
                )
            if record.method.startswith("coeff") and not self.without_alpha:
                raise ConfigError(
                    f"{record.name} mixes heads, which no projection can hold, so a merged base would draw something "
                    "else without a word; add --without-alpha to merge the rest"
                )
        if self.precision not in DTYPES:
            raise ConfigError(f"--precision {self.precision!r} is not one of {', '.join(DTYPES)}")

    def _check_approximation(self, record: RunRecord) -> None:
        flag = f"--approximate-alpha {self.approximate_alpha}"
        if self.approximate_alpha is not None and self.approximate_alpha < 1:
            raise ConfigError(f"{flag} must be at least 1")
        if takes_loras_place(record.method):
            raise ConfigError(
                f"{record.name} learned {record.method}, which is no LoRA that {flag} could add to; leave it out"
            )
        if not record.method.startswith("coeff"):
            raise ConfigError(f"{record.name} has no alpha to approximate; leave {flag} out")
        if self.form == "merged" or self.as_lora is not None:
            raise ConfigError(
                f"{flag} makes a LoRA file of what was trained; it goes with neither merged nor --as-lora"
            )


@dataclass(frozen=True)
class Exported:
    """errors: by module, how far the LoRA of --as-lora is from the trained change, relative to it."""

    path: Path
    lost: str
    errors: dict[str, float] = field(default_factory=dict)
    approximation: Approximation | None = None


def export(
    request: ExportRequest,
    run: RunFolder,
    record: RunRecord,
    base: Base,
    *,
    progress: Progress,
    warn: Callable[[str], None],
) -> Exported:
    """Write what `request` asks for. Raises UserError, and leaves nothing half written."""
    request.check(record)
    target = request.output or _default_output(request, run, record)
    if request.form == "merged" and target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{target} is there already; name another --output, or remove it")
    progress("loading the base", 0, 1, base.name)
    components = load_components(base, device=torch.device("cpu"), dtype=torch.float32)
    progress("loading the base", 1, 1, base.name)
    if not same_weights(record.base.sketch, components.sketch):
        warn(f"{record.name} was trained on other weights of this architecture ({record.base.name})")
    adapter = load_adapter(components.unet, run.adapter, components.architecture)
    about = about_run(run, record, components.scheduler.config)
    if request.form == "merged":
        _merge(adapter, components, target, request.precision)
        return Exported(target, about.what_is_lost)
    errors: dict[str, float] = {}
    changes, near = changes_of(adapter.lora), None
    if request.approximate_alpha is not None:
        near = approximate_run(components, adapter, record, request.approximate_alpha, progress)
        changes, about = near.changes, dataclasses.replace(about, approximated=near.told)
        if near.share > FARTHEST and not request.force:
            raise ConfigError(f"{near.told}; that is little to share. Give more rank, or --force")
    if request.as_lora is not None:
        changes, errors = _as_lora(adapter, request.as_lora, progress)
        about = _noted(about, request.as_lora, errors)
    if not changes:
        raise AdapterError(f"{record.method} has no LoRA in it; add --as-lora RANK for the nearest one")
    if request.form == "comfyui":
        write_kohya(target, changes, components.unet, about)
    else:
        target = target if target.suffix == ".safetensors" else target / LORA_FILE
        write_diffusers(target, changes, about)
    return Exported(target, about.what_is_lost, errors, near)


def _default_output(request: ExportRequest, run: RunFolder, record: RunRecord) -> Path:
    ending = f"-lora{request.as_lora}" if request.as_lora else ""
    ending += f"-alpha{request.approximate_alpha}" if request.approximate_alpha else ""
    if request.form == "comfyui":
        return run.path / EXPORTS / portable_name(record.name + ending)
    return run.path / EXPORTS / (request.form + ending)


def _noted(about: About, rank: int, errors: dict[str, float]) -> About:
    mean = sum(errors.values()) / len(errors)
    return dataclasses.replace(
        about, note=f"the nearest LoRA of rank {rank} to {about.method}; relative error {mean:.3f}"
    )


def _as_lora(adapter: Adapter, rank: int, progress: Progress) -> tuple[dict[str, Change], dict[str, float]]:
    changes: dict[str, Change] = {}
    errors: dict[str, float] = {}
    for path in adapter.spec.modules:
        base, changed = adapter.unet.get_submodule(path).get_base_layer(), merged(adapter, path)
        if base.bias is not None and not torch.equal(changed.bias, base.bias):
            raise AdapterError(f"{adapter.spec.method} changes the bias of {path}, which no LoRA can hold")
        low_rank, errors[path] = nearest_low_rank(changed.weight - base.weight, rank)
        changes[path] = Change(low_rank)
        progress("finding the nearest LoRA", len(changes), len(adapter.spec.modules), "")
    return changes, errors


def _merge(adapter: Adapter, components: Components, target: Path, precision: str) -> None:
    plain = {path: merged(adapter, path) for path in adapter.spec.modules}
    adapter.uninstall()
    for path, layer in plain.items():
        components.unet.set_submodule(path, layer)
    pipeline = components.pipeline
    for part in (pipeline.unet, pipeline.text_encoder, pipeline.text_encoder_2):
        part.to(DTYPES[precision])
    unfinished = target.with_name(f".{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        pipeline.save_pretrained(unfinished)
        settings = Path(components.base.source) / SETTINGS_FILE
        if settings.is_file():
            shutil.copyfile(settings, unfinished / SETTINGS_FILE)
        if target.exists():
            target.rmdir()
        unfinished.rename(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
