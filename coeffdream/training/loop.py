"""The training loop: reads top to bottom as the algorithm."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from coeffdream.adapters.lora import CastOnce
from coeffdream.backbones.processes import add_up, any_of
from coeffdream.config import TrainConfig
from coeffdream.errors import NonFiniteLossError, RunError
from coeffdream.progress import Progress, unheard
from coeffdream.stopping import stop_requested
from coeffdream.tracking import UNLOGGED
from coeffdream.training.batches import Batches, TrainingData
from coeffdream.training.checkpoint import TrainingState, checkpoint_due
from coeffdream.training.log import StepLog, Unwritten
from coeffdream.training.passes import Passes
from coeffdream.training.step import Draw, NoiseSchedule
from coeffdream.training.update import Update
from coeffdream.training.watch import Watch


def run_steps(
    unet: Any,
    state: TrainingState,
    data: TrainingData,
    schedule: NoiseSchedule,
    config: TrainConfig,
    log: Path | None,
    *,
    after_step: Callable[[int], None],
    progress: Progress,
    validate: Callable[[], Mapping[str, float]] = dict,
    notice: Callable[[str], None] = unheard,
    track: Callable[[Mapping[str, Any]], None] = UNLOGGED.step,
) -> bool:
    """Train from `state.step` to `config.steps`. True when done, False when asked to stop (Ctrl-C, SIGTERM).

    `after_step(steps_done)` draws samples and writes checkpoints; the step is a line of `log` by then, with what
    `validate` measured where a checkpoint is due. `notice` hears what is odd, `track` every row of the log.
    log: None in a process that helps another one, which watches, writes and validates.

    Raises NonFiniteLossError before a bad loss can touch the weights, DivergedError for one that ran away.
    """
    adapter, scaler = state.adapter, state.scaler
    steps = StepLog(log, state.step) if log else Unwritten()
    watch = _watch(log, steps.past, config) if log else None
    batches = Batches(adapter, data, schedule, config)
    passes = Passes(unet, CastOnce(adapter), scaler, config, notice)
    update = Update(state, config, in_place=passes.records, notice=notice)

    with stop_requested() as stopping:
        while state.step < config.steps and not any_of(stopping()):
            step, started = state.step, time.perf_counter()
            if not unet.training:  # it is thousands of modules
                unet.train()
            adapter.seed_method(config.seed, step)
            update.clear()
            seen: list[Draw] = []
            row: dict[str, Any] = {
                "step": step + 1,
                "loss": 0.0,
                "prior_loss": 0.0,
                "timesteps": [],
                "photos": [],
            }

            for micro in range(config.grad_accum):
                draws, masks, make_next = batches.take(step * config.grad_accum + micro)
                adapter.set_masks(masks)
                found = passes(draws, meanwhile=make_next)
                if not math.isfinite(found.total):
                    raise NonFiniteLossError(
                        _explanation("loss", step, _not_finite(found.each, draws), config)
                    )
                photos = draws[: config.batch_size]
                row["loss"] += found.photos / config.grad_accum
                row["prior_loss"] += found.priors / config.grad_accum
                row["timesteps"] += [draw.timestep for draw in photos]
                row["photos"] += [draw.sample.name for draw in photos]
                seen += draws

            add_up(each.grad for each in adapter.trainable.values() if each.grad is not None)
            row["lora_grad"], row["alpha_grad"] = update.norms()
            # Under loss scaling an overflow is usual, and the scaler leaves that step out.
            if not (scaler.is_enabled() or math.isfinite(row["lora_grad"] + row["alpha_grad"])):
                raise NonFiniteLossError(_explanation("gradient", step, seen, config))
            factor = update.make(step)
            if state.average is not None:
                state.average.step(adapter.trainable.values())

            state.step = step + 1
            row |= {
                "lr": config.lr * factor,
                "coeff_lr": config.alpha_lr * factor,
                "seconds": round(time.perf_counter() - started, 4),
            }
            pictures_due = config.sample_every and state.step % config.sample_every == 0
            if checkpoint_due(state.step, config) or pictures_due:
                passes.release()
            if checkpoint_due(state.step, config):
                row |= validate()
            track(steps.add(row))
            progress("training", state.step, config.steps, f"loss {row['loss']:.4f}")
            if watch and (odd := watch.look(row)):
                notice(odd)
            # Before the checkpoint, so that a run resumed after a power cut lacks no row.
            if checkpoint_due(state.step, config):
                steps.keep()
            after_step(state.step)
    passes.release()
    steps.keep()
    return state.step >= config.steps


def _watch(log: Path, rows: Sequence[dict[str, Any]], config: TrainConfig) -> Watch:
    try:
        return Watch(rows, config.lr)
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{log} holds a step without its loss or seconds ({error}); remove the file") from None


def _not_finite(each: list[float], draws: list[Draw]) -> list[Draw]:
    """The draws whose own loss is the bad one; all of them when only their sum is."""
    return [d for d, value in zip(draws, each, strict=True) if not math.isfinite(value)] or draws


def _explanation(what: str, step: int, draws: list[Draw], config: TrainConfig) -> str:
    named = ", ".join(f"{draw.sample.name} at timestep {draw.timestep}" for draw in draws)
    remedy = (
        "--precision bf16 or fp32" if config.precision == "fp16" else f"a smaller --lr (it is {config.lr:g})"
    )
    return (
        f"the {what} of step {step + 1} is not a number ({named}); stopped before it could touch the weights. "
        f"Checkpoints written before are kept. Try {remedy}"
    )
