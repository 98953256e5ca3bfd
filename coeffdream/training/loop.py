"""The training loop: reads top to bottom as the algorithm."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from coeffdream.config import TrainConfig
from coeffdream.errors import DivergedError, NonFiniteLossError, RunError
from coeffdream.progress import Progress, unheard
from coeffdream.records.claim import confirm
from coeffdream.records.files import read_jsonl, write_jsonl
from coeffdream.stopping import stop_requested
from coeffdream.tracking import UNLOGGED
from coeffdream.training.checkpoint import TrainingState, checkpoint_due
from coeffdream.training.latent_cache import TrainingSample
from coeffdream.training.optimizer import gradient_norm
from coeffdream.training.step import Draw, NoiseSchedule, draw_sample, losses
from coeffdream.training.watch import Watch


@dataclass(frozen=True)
class TrainingData:
    """The encoded photos, and the encoded class images when the prior is preserved."""

    photos: list[TrainingSample]
    class_images: list[TrainingSample]


def run_steps(
    unet: Any,
    state: TrainingState,
    data: TrainingData,
    schedule: NoiseSchedule,
    config: TrainConfig,
    log: Path,
    *,
    after_step: Callable[[int], None],
    progress: Progress,
    notice: Callable[[str], None] = unheard,
    track: Callable[[Mapping[str, Any]], None] = UNLOGGED.step,
) -> bool:
    """Train from `state.step` to `config.steps`. True when done, False when asked to stop (Ctrl-C, SIGTERM).

    `after_step(steps_done)` draws samples and writes checkpoints; `notice` hears what is odd, `track`
    every row of the log. Raises
    NonFiniteLossError before a bad loss can touch the weights, DivergedError for one that ran away.
    """
    adapter, optimizer, scaler = state.adapter, state.optimizer, state.scaler
    rows = _rows_until(log, state.step)
    watch = _watch(log, rows, config)

    def keep_log() -> None:
        confirm(log.parent)
        write_jsonl(log, rows)

    with stop_requested() as stopping:
        while state.step < config.steps and not stopping():
            step, started = state.step, time.perf_counter()
            unet.train()
            adapter.draw_dropout(config.seed, step)
            optimizer.zero_grad(set_to_none=True)
            seen: list[Draw] = []
            row: dict[str, Any] = {
                "step": step + 1,
                "loss": 0.0,
                "prior_loss": 0.0,
                "timesteps": [],
                "photos": [],
            }

            for micro in range(config.grad_accum):
                first = (step * config.grad_accum + micro) * config.batch_size
                positions = range(first, first + config.batch_size)
                draws = [
                    draw_sample(data.photos, position, schedule, config, "photo") for position in positions
                ]
                priors = [
                    draw_sample(data.class_images, position, schedule, config, "class")
                    for position in positions
                    if data.class_images
                ]
                each = losses(unet, draws + priors)
                loss, prior_loss = each[: len(draws)].mean(), each[len(draws) :].sum() / max(len(priors), 1)
                total = (loss + config.prior_weight * prior_loss) / config.grad_accum
                if not math.isfinite(total.item()):
                    keep_log()
                    raise NonFiniteLossError(
                        _explanation("loss", step, _not_finite(each, draws + priors), config)
                    )
                scaler.scale(total).backward()
                row["loss"] += loss.item() / config.grad_accum
                row["prior_loss"] += prior_loss.item() / config.grad_accum
                row["timesteps"] += [draw.timestep for draw in draws]
                row["photos"] += [draw.sample.name for draw in draws]
                seen += draws + priors

            scaler.unscale_(optimizer)
            row["lora_grad"] = gradient_norm(list(adapter.lora.values()))
            row["alpha_grad"] = gradient_norm(list(adapter.alpha.values()))
            # Under loss scaling an overflow is usual, and the scaler leaves that step out.
            if not (scaler.is_enabled() or math.isfinite(row["lora_grad"] + row["alpha_grad"])):
                keep_log()
                raise NonFiniteLossError(_explanation("gradient", step, seen, config))
            scaler.step(optimizer)
            scaler.update()

            state.step = step + 1
            row |= {
                "lr": config.lr,
                "coeff_lr": config.alpha_lr,
                "seconds": round(time.perf_counter() - started, 4),
            }
            rows.append({key: _finite(value) for key, value in row.items()})
            track(rows[-1])
            progress("training", state.step, config.steps, f"loss {row['loss']:.4f}")
            try:
                if odd := watch.look(row):
                    notice(odd)
            except DivergedError:
                keep_log()
                raise
            # Before the checkpoint, so that a run resumed after a power cut lacks no row.
            if state.step % 25 == 0 or checkpoint_due(state.step, config):
                keep_log()
            after_step(state.step)
    keep_log()
    return state.step >= config.steps


def _rows_until(log: Path, step: int) -> list[dict[str, Any]]:
    """The log up to the checkpoint that training resumes from."""
    if step == 0 or not log.exists():
        return []
    rows = read_jsonl(log)
    for number, row in enumerate(rows, start=1):
        if not (isinstance(row, dict) and isinstance(row.get("step"), int)):
            raise RunError(f"{log}, line {number} is no training step; remove that line")
    return [row for row in rows if row["step"] <= step]


def _watch(log: Path, rows: list[dict[str, Any]], config: TrainConfig) -> Watch:
    try:
        return Watch(rows, config.lr)
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{log} holds a step without its loss or seconds ({error}); remove the file") from None


def _finite(value: Any) -> Any:
    """JSON has no NaN: a gradient that overflowed under loss scaling is logged as null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _not_finite(each: torch.Tensor, draws: list[Draw]) -> list[Draw]:
    """The draws whose own loss is the bad one; all of them when only their sum is."""
    return [d for d, value in zip(draws, each.tolist(), strict=True) if not math.isfinite(value)] or draws


def _explanation(what: str, step: int, draws: list[Draw], config: TrainConfig) -> str:
    named = ", ".join(f"{draw.sample.name} at timestep {draw.timestep}" for draw in draws)
    remedy = (
        "--precision bf16 or fp32" if config.precision == "fp16" else f"a smaller --lr (it is {config.lr:g})"
    )
    return (
        f"the {what} of step {step + 1} is not a number ({named}); stopped before it could touch the weights. "
        f"Checkpoints written before are kept. Try {remedy}"
    )
