"""Commands to be typed next: quoted for the shell, and with all that they need from where the reader stands."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from coeffdream.errors import RunError
from coeffdream.records.images import SetRecord
from coeffdream.records.run import Part, RunFolder, RunRecord, find_run
from coeffdream.records.scores import ScoresRecord

RUNS = Path("runs")  # where commands look when they are not told


def command_line(*words: object) -> str:
    """`coeffdream WORDS...` as a shell takes it."""
    join = subprocess.list2cmdline if os.name == "nt" else shlex.join
    return join(["coeffdream", *map(str, words)])


def options(**values: object) -> list[str]:
    """--NAME and its value, for each that is not None."""
    given = {name: value for name, value in values.items() if value is not None}
    return [word for name, value in given.items() for word in ("--" + name.replace("_", "-"), str(value))]


def name_of(run: RunFolder) -> str:
    """What a command must be given: the name of a run in ./runs, of any other its path."""
    path = run.path.resolve()
    if path.parent == RUNS.resolve() and not path.name.startswith("-"):
        return path.name
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def argument_of(run: RunFolder) -> list[str]:
    """What names the run to a command; nothing where a command finds this run by itself."""
    with contextlib.suppress(RunError):
        if find_run(None, RUNS).path == run.path.resolve():
            return []
    return [name_of(run)]


def of_run(run: RunFolder) -> list[str]:
    """The same for `generate`, whose arguments are prompts."""
    return [word for name in argument_of(run) for word in ("--run", name)]


def adapter_words(parts: Sequence[Part], weights: Mapping[str, float] | None = None) -> list[str]:
    """--adapter and what it must be given, for each of several runs that draw together."""
    named = [(name_of(RunFolder(Path(part.folder))), (weights or {}).get(part.name, 1.0)) for part in parts]
    return [
        word for name, weight in named for word in ("--adapter", name if weight == 1 else f"{name}:{weight}")
    ]


def resume_command(run: RunFolder) -> str:
    return command_line("train", "--resume", name_of(run))


def benchmark_command(run: RunFolder, record: RunRecord) -> str:
    """The line that draws the whole benchmark as the base recommends."""
    if record.parts:
        return command_line("generate", *adapter_words(record.parts), *_runs_of(run))
    untouched = ["--no-adapter"] if record.status == "base" else []
    return command_line("generate", "--run", name_of(run), *untouched)


def generate_command(run: RunFolder, record: RunRecord, made: SetRecord, *, no_adapter: bool = False) -> str:
    """The `coeffdream generate` line that draws this set; `no_adapter`: the same with the untouched base."""
    settings = made.settings
    untouched = no_adapter or settings.adapter is None
    words: list[object] = ["generate"]
    if made.kind == "unrelated":
        words.append("--unrelated")  # draws both sets, with the adapter and without
    elif made.prompts != "given":
        words += ["--prompts", made.prompts]
    if record.status == "base":
        words += ["--base", record.base.name, "--class", record.class_noun, *_runs_of(run)]
        words += options(
            base_config=record.base.base_config,
            revision=record.base.revision,
            prediction=record.base.prediction,
        )
    elif record.parts and not untouched:
        words += [*adapter_words(record.parts, settings.weights), *_runs_of(run)]
    else:
        words += ["--run", name_of(run)]
    words += options(images_per_prompt=made.images_per_prompt, seed=settings.seed, steps=settings.steps)
    words += options(guidance=settings.guidance_scale, size=settings.size, negative=settings.negative or None)
    words += options(compile="on" if settings.compiled else None)
    if not untouched:
        words += [*options(checkpoint=settings.checkpoint), *(["--fold"] if settings.folded else [])]
        for flag, scale in (("--lora-scale", settings.lora_scale), ("--alpha-scale", settings.alpha_scale)):
            if scale not in (None, 1.0):
                words += [flag, scale]
    elif made.kind != "unrelated":
        words.append("--no-adapter")
    if not no_adapter:
        own = untouched and made.kind == "unrelated"
        words += ["--set", made.name.removesuffix("-base") if own else made.name]
    if made.prompts == "given":
        plain = ["--plain"] if any("<V>" not in template for template in made.templates) else []
        words += [*plain, "--", *made.templates]
    return command_line(*words)


def _runs_of(run: RunFolder) -> list[str]:
    """--runs for a run that is made where its first pictures are."""
    return [] if run.path.resolve().parent == RUNS.resolve() else ["--runs", str(Path(name_of(run)).parent)]


def eval_command(run: RunFolder, made: SetRecord, scores: ScoresRecord | None) -> str:
    words = ["eval", name_of(run), "--set", made.name]
    if scores and scores.score_text != "class":
        words += ["--score-text", scores.score_text]
    return command_line(*words)


def report_command(run: RunFolder, made: SetRecord | None) -> str:
    return command_line("report", name_of(run), *(["--set", made.name] if made else []))
