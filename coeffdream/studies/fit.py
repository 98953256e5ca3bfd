"""One training of a study through transformers' Trainer."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from coeffdream.studies.cells import Tell

WEIGHT_DECAY = 1e-4
WARM_UP = 0.1  # of the steps; a cosine to zero follows


@dataclass(frozen=True)
class Group:
    """Parameters of one kind, their learning rate and weight decay."""

    parameters: Sequence[nn.Parameter]
    lr: float
    weight_decay: float = WEIGHT_DECAY


def fit(
    model: Any,
    groups: Sequence[Group],
    train: Dataset[Any],
    collate: Callable[[Sequence[Any]], dict[str, Any]],
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    device: str,
    tell: Tell,
) -> float:
    """Train `groups` with AdamW; the mean loss. `collate` makes a batch of items of `train`, whose order follows from
    `seed` alone."""
    from transformers import (
        PrinterCallback,
        Trainer,
        TrainerCallback,
        TrainingArguments,
        get_cosine_schedule_with_warmup,
    )

    class Telling(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            tell(state.global_step, state.max_steps)

    optimizer = torch.optim.AdamW(
        [
            {"params": list(group.parameters), "lr": group.lr, "weight_decay": group.weight_decay}
            for group in groups
        ],
        fused=True,  # on a CPU too: a fifth of a small model's step less
    )
    # Datasets that are no streams have a length, which their type leaves out.
    steps = epochs * -(-len(train) // batch_size)  # type: ignore[arg-type]
    schedule = get_cosine_schedule_with_warmup(optimizer, round(WARM_UP * steps), steps)
    with torch.random.fork_rng(devices=[]):  # Trainer seeds torch, and leaves it so
        trainer = Trainer(
            model,
            TrainingArguments(
                num_train_epochs=epochs,
                per_device_train_batch_size=batch_size,
                seed=seed,
                use_cpu=device == "cpu",
                save_strategy="no",
                logging_strategy="no",
                logging_nan_inf_filter=False,  # which would hide a loss that is not a number
                report_to="none",
                disable_tqdm=True,
                log_level="error",
                remove_unused_columns=False,
                dataloader_pin_memory=False,
            ),
            data_collator=collate,
            train_dataset=train,
            optimizers=(optimizer, schedule),
            callbacks=[Telling()],
        )
        trainer.remove_callback(PrinterCallback)
        with _nothing_old_is_garbage():
            return float(trainer.train().training_loss)


@contextlib.contextmanager
def _nothing_old_is_garbage() -> Iterator[None]:
    """Trainer collects garbage before each training, which takes longer than a small one: every library is gone through."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
