"""The loop that trains every part: AdamW, cosine, EMA, and checkpoints that resume to the same tensors."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from coeffdream.records.files import replacing, write_json


@dataclass
class Budget:
    """When a part is done: after `steps`, or after `minutes` of training. With `minutes` the learning rate follows
    the clock and so the weights depend on the machine's speed; with `steps` the same device and seed give the
    same weights."""

    minutes: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.steps is None):
            raise ValueError("give a budget in minutes or in steps, one of the two")

    def progress(self, step: int, seconds: float) -> float:
        share = step / self.steps if self.steps is not None else seconds / 60 / (self.minutes or 1)
        return min(1.0, share)


@dataclass
class Recipe:
    name: str
    learning_rate: float
    batch_size: int
    ema: float = 0.999
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.01
    clip: float = 1.0
    warmup: int = 100
    save_every: float = 120.0  # seconds
    bfloat16: bool = True


@dataclass
class Trained:
    """EMA weights by name, and what the log of the training says."""

    weights: dict[str, torch.Tensor]
    summary: dict[str, object] = field(default_factory=dict)


LossOf = Callable[[int, torch.Generator], tuple[torch.Tensor, dict[str, float]]]


def run_loop(
    model: nn.Module,
    loss_of: LossOf,
    recipe: Recipe,
    budget: Budget,
    out: Path,
    seed: int = 0,
    peek: Callable[[int, dict[str, torch.Tensor]], None] | None = None,
) -> Trained:
    """Trains `model` in place. `loss_of(step, generator)` draws the batch of that step from a generator that depends
    on (seed, step) alone. `peek(step, ema)` is called at every checkpoint."""
    folder = out / recipe.name
    folder.mkdir(parents=True, exist_ok=True)
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    parameters = dict(model.named_parameters())
    trained = [parameters[name] for name in names]
    device = trained[0].device
    optimizer = torch.optim.AdamW(
        trained, lr=recipe.learning_rate, betas=recipe.betas, weight_decay=recipe.weight_decay
    )
    ema = {name: parameters[name].detach().clone() for name in names}
    step, seconds, recent = _load(folder, names, trained, ema, optimizer)
    last_save = last_print = began = time.monotonic() - seconds
    last_save = last_print = time.monotonic()
    while (share := budget.progress(step, time.monotonic() - began)) < 1.0:
        rate = recipe.learning_rate * min(1.0, (step + 1) / recipe.warmup) * (0.02 + 0.98 * _cosine(share))
        for group in optimizer.param_groups:
            group["lr"] = rate
        generator = torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.bfloat16):
            loss, parts = loss_of(step, generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if not math.isfinite(loss.item()):
            raise FloatingPointError(f"{recipe.name}: the loss of step {step} is {loss.item()}")
        nn.utils.clip_grad_norm_(trained, recipe.clip)
        optimizer.step()
        step += 1
        decay = min(recipe.ema, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(ema.values()), [parameter.detach() for parameter in trained], 1 - decay)
        for key, value in {"loss": loss.item(), **parts}.items():
            recent[key] = recent.get(key, value) + 0.02 * (value - recent.get(key, value))
        now = time.monotonic()
        if now - last_print > 20:
            print(_line(recipe, step, now - began, rate, recent), flush=True)
            last_print = now
        if now - last_save > recipe.save_every:
            _save(folder, names, trained, ema, optimizer, step, now - began, recent)
            if peek is not None:
                peek(step, ema)
            last_save = time.monotonic()
    elapsed = time.monotonic() - began
    _save(folder, names, trained, ema, optimizer, step, elapsed, recent)
    if peek is not None:
        peek(step, ema)
    summary: dict[str, object] = {
        "steps": step,
        "images": step * recipe.batch_size,
        "minutes": round(elapsed / 60, 1),
        **{name: round(value, 4) for name, value in recent.items()},
    }
    write_json(folder / "summary.json", summary)
    print(_line(recipe, step, elapsed, 0.0, recent), "done", flush=True)
    return Trained(ema, summary)


def ema_of(out: Path, name: str) -> dict[str, torch.Tensor]:
    """The EMA weights of the newest checkpoint of a part."""
    path = out / name / "state.safetensors"
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there; build the part {name!r} first")
    tensors = load_file(path)
    return {key[4:]: value for key, value in tensors.items() if key.startswith("ema.")}


def overlay(out: Path, name: str, onto: str) -> None:
    """Writes the newest tensors of part `name`, weights and moments, over those of part `onto`, whose step and clock
    stay."""
    from safetensors import safe_open

    path = out / onto / "state.safetensors"
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    merged = load_file(path) | load_file(out / name / "state.safetensors")
    with replacing(path) as temporary:
        save_file(merged, temporary, metadata=metadata)


def summary_of(out: Path, name: str) -> dict[str, object]:
    """How far a part has come, by its newest checkpoint."""
    return json.loads((out / name / "state.json").read_text(encoding="utf-8"))


def _cosine(share: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * share))


def _line(recipe: Recipe, step: int, seconds: float, rate: float, recent: dict[str, float]) -> str:
    values = " ".join(f"{key} {value:.4f}" for key, value in recent.items())
    speed = step * recipe.batch_size / max(seconds, 1e-9)
    return f"{recipe.name} step {step} {seconds / 60:.1f} min {speed:.0f} images/s lr {rate:.1e} {values}"


def _save(folder, names, trained, ema, optimizer, step, seconds, recent) -> None:
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in zip(names, trained, strict=True):
        tensors[f"model.{name}"] = parameter.detach().cpu().contiguous()
        tensors[f"ema.{name}"] = ema[name].cpu().contiguous()
        state = optimizer.state.get(parameter, {})
        if state:
            tensors[f"exp_avg.{name}"] = state["exp_avg"].cpu().contiguous()
            tensors[f"exp_avg_sq.{name}"] = state["exp_avg_sq"].cpu().contiguous()
    # Step and time travel inside the tensors' file, so that one rename moves both.
    metadata = {"step": str(step), "seconds": repr(seconds), "recent": json.dumps(recent)}
    with replacing(folder / "state.safetensors") as temporary:
        save_file(tensors, temporary, metadata=metadata)
    write_json(folder / "state.json", {"steps": step, "minutes": round(seconds / 60, 2), **recent})


def _load(folder, names, trained, ema, optimizer) -> tuple[int, float, dict[str, float]]:
    from safetensors import safe_open

    path = folder / "state.safetensors"
    if not path.exists():
        return 0, 0.0, {}
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        step, held = int(metadata["step"]), set(file.keys())
        for name, parameter in zip(names, trained, strict=True):
            with torch.no_grad():
                parameter.copy_(file.get_tensor(f"model.{name}"))
            ema[name].copy_(file.get_tensor(f"ema.{name}"))
            if f"exp_avg.{name}" in held:  # what no loss reaches, such as DINOv2's mask token, has no state
                optimizer.state[parameter] = {
                    "step": torch.tensor(float(step)),
                    "exp_avg": file.get_tensor(f"exp_avg.{name}").to(parameter.device),
                    "exp_avg_sq": file.get_tensor(f"exp_avg_sq.{name}").to(parameter.device),
                }
    return step, float(metadata["seconds"]), json.loads(metadata["recent"])
