"""The Python door: what the command line does, as functions, and our adapters in a diffusers pipeline.

Every error is a `coeffdream.CoeffdreamError`; a request that cannot be served as it was made is a `UserError`.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from coeffdream.config import TrainConfig
from coeffdream.errors import AdapterError, ConfigError
from coeffdream.progress import Progress, silent
from coeffdream.resolve import resolve

if TYPE_CHECKING:
    from coeffdream.adapters.install import Adapter
    from coeffdream.compare.comparison import Comparison
    from coeffdream.generation.sets import Generated
    from coeffdream.generation.together import Together
    from coeffdream.records.run import RunFolder
    from coeffdream.records.scores import ScoresRecord

    Run = str | Path | RunFolder

RUNS = Path("runs")

# The adapter of each UNet it was loaded into, or several together, and the end of its guard.
_loaded: weakref.WeakKeyDictionary[Any, tuple[Adapter | Together, Any]] = weakref.WeakKeyDictionary()


@overload
def load(pipe: Any, run: Run, *, lora_scale: float = 1.0, alpha_scale: float = 1.0) -> Adapter: ...
@overload
def load(
    pipe: Any, run: Mapping[Any, float], *, lora_scale: float = 1.0, alpha_scale: float = 1.0
) -> Together: ...
def load(
    pipe: Any, run: Run | Mapping[Any, float], *, lora_scale: float = 1.0, alpha_scale: float = 1.0
) -> Adapter | Together:
    """Put what a run has learned, head mixing and all, into a diffusers SDXL pipeline (or what else has a .unet).

    run: a run's folder, its adapter/ folder, a run's name in ./runs, or hub:OWNER/NAME[@REVISION]; or several of them,
    each with its weight, whose changes then add up in whatever order. LoRAs that are loaded already stay in force.
    From now on the pipeline refuses to draw when something takes a part of it out of force without a word.
    Raises AdapterError, RunError, HubError, and leaves the pipeline as it was.
    """
    from coeffdream.adapters.files import load_adapter
    from coeffdream.adapters.guard import guard
    from coeffdream.backbones.fingerprint import architecture_of
    from coeffdream.generation.together import Share, put_together, taken_out

    unet = pipe.unet
    if unet in _loaded:
        raise AdapterError(
            "this pipeline carries an adapter of coeffdream; take it out with coeffdream.unload(pipe), and load "
            "several together: coeffdream.load(pipe, {RUN: 1.0, RUN2: 0.7})"
        )
    architecture = architecture_of(unet)
    if isinstance(run, Mapping):
        folders = {_adapter_folder(each).resolve(): weight for each, weight in run.items()}
        if not folders or len(folders) < len(run):
            raise ConfigError(
                f"load was given {len(run)} runs, of which {len(folders)} differ; give each once"
            )
        if not all(map(math.isfinite, folders.values())):
            raise ConfigError(
                f"load was given the weights {list(run.values())}; each must be a finite number"
            )
        shares = []
        for folder, weight in folders.items():
            learned = taken_out(load_adapter(unet, folder, architecture), folder)
            shares.append(Share(learned, weight * lora_scale, weight * alpha_scale))
        together = put_together({"unet": unet}, shares)
        _loaded[unet] = together, together.guard()
        return together
    adapter = load_adapter(unet, _adapter_folder(run), architecture)
    try:
        adapter.set_scales(lora=lora_scale, alpha=alpha_scale)
    except ConfigError:
        adapter.uninstall()
        raise
    _loaded[unet] = adapter, guard(adapter)
    return adapter


def unload(pipe: Any) -> None:
    """Take out what `load` put in; other LoRAs stay. Raises AdapterError when there is nothing of ours."""
    if pipe.unet not in _loaded:
        raise AdapterError("this pipeline carries no adapter of coeffdream; nothing to unload")
    adapter, guarding = _loaded.pop(pipe.unet)
    guarding.remove()
    adapter.uninstall()


def train(concept: str | Path, *, progress: Progress = silent, **options: Any) -> RunFolder:
    """Learn one thing from a folder of photos. options: those of `coeffdream train`, as fields of TrainConfig.

    Returns the run's folder. Raises UserError; KeyboardInterrupt leaves a run that `coeffdream train --resume` takes up.
    """
    from coeffdream.backbones.base import base_asked
    from coeffdream.data.concept import load_concept
    from coeffdream.data.shipped import concept_folder
    from coeffdream.training.run import train as train_run

    _check_names("train", options, TrainConfig)
    base = base_asked(options)
    config = resolve({**options, "concept": str(concept)}, None, base.settings.training).config
    photos = load_concept(
        concept_folder(config.concept), class_noun=config.class_noun, caption_template=config.caption
    )
    return train_run(config, photos, base, progress)[0]


def generate(
    run: Run | Mapping[Any, float],
    prompts: Sequence[str] = (),
    *,
    progress: Progress = silent,
    warn: Callable[[str], None] | None = None,
    **options: Any,
) -> Generated:
    """Draw prompts (none: the benchmark) with a run. options: those of `coeffdream generate`, fields of GenerateRequest.

    run: or two and more with their weights, of which <V1> is the first in the prompts, <V2> the second, ...
    warn: called with every warning; None takes Python's own warnings. Raises UserError.
    """
    from coeffdream.backbones.base import base_of
    from coeffdream.generation.request import GenerateRequest
    from coeffdream.generation.run import generate as generate_set
    from coeffdream.generation.several import run_of_several

    _check_names("generate", options, GenerateRequest)
    for name in ("unrelated", "floor"):
        if options.get(name):
            raise ConfigError(f"{name} draws two sets; use coeffdream generate --{name}")
    heard = warn or warnings.warn
    if isinstance(run, Mapping):
        if len(run) < 2:
            raise ConfigError(
                "generate was given one run with a weight; give it as lora_scale and alpha_scale"
            )
        options["weights"] = tuple(run.values())
        folder, record = run_of_several([_run(each) for each in run], RUNS, heard)
    else:
        folder = _run(run)
        record = folder.read()
    request = GenerateRequest(prompts=tuple(prompts), **options)
    return generate_set(
        request,
        folder,
        record,
        base_of(record.base),
        grid=False,
        progress=progress,
        warn=heard,
    )


def score(run: str | Path | RunFolder, *, set_name: str | None = None, **options: Any) -> ScoresRecord:
    """Score a set of a run (None: the newest benchmark). options: those of `coeffdream eval`, fields of ScoringOptions."""
    from coeffdream.metrics.evaluate import evaluate_run
    from coeffdream.metrics.options import ScoringOptions

    _check_names("score", options, ScoringOptions)
    scoring = ScoringOptions(**options)
    scoring.check()
    return evaluate_run(_run(run), set_name=set_name, options=scoring)


def compare_runs(
    *runs: str | Path | RunFolder, by_method: bool = False, baseline: str | None = None, seed: int = 0
) -> Comparison:
    """Compare scored runs, paired on prompt and seed, whatever their order. Raises UserError.

    baseline: the run that the others are compared with; else lora before coeff-lora, then by name.
    """
    from coeffdream.compare.comparison import compare
    from coeffdream.compare.pairing import pair_by_method, pair_runs
    from coeffdream.compare.scored import load_runs

    given = load_runs([str(_run(run).path) for run in runs], RUNS)
    return compare(pair_by_method(given) if by_method else pair_runs(given, baseline), seed=seed)


def _check_names(function: str, options: dict[str, Any], kind: type) -> None:
    known = [each.name for each in dataclasses.fields(kind)]
    if unknown := [name for name in options if name not in known]:
        raise ConfigError(f"{function} has no option {unknown[0]!r}; it has: {', '.join(known)}")


def _run(run: str | Path | RunFolder) -> RunFolder:
    from coeffdream.records.run import RunFolder
    from coeffdream.sharing.pull import find_run_anywhere

    return run if isinstance(run, RunFolder) else find_run_anywhere(str(run), RUNS, warn=warnings.warn)


def _adapter_folder(run: str | Path | RunFolder) -> Path:
    from coeffdream.records.adapter_names import TENSOR_FILES
    from coeffdream.records.run import RunFolder
    from coeffdream.sharing.hub import PREFIX, parse_hub_name
    from coeffdream.sharing.pull import fetch

    if isinstance(run, str) and run.startswith(PREFIX):
        return fetch(parse_hub_name(run), warn=warnings.warn)[0]
    if not isinstance(run, RunFolder):
        folder = Path(run).expanduser()
        if any((folder / name).is_file() for name in TENSOR_FILES):
            return folder
    return _run(run).adapter
