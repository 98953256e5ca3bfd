"""What to turn down when the memory does not suffice."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from coeffdream.config import TrainConfig
from coeffdream.errors import ConfigError, out_of_memory

PREPARING = "loading the base and encoding the photos"
TRAINING = "training"


@contextlib.contextmanager
def advised(config: TrainConfig, doing: str) -> Iterator[None]:
    """Raises ConfigError with what would take less, where the block ran out of memory. doing: one of the above."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        kept = "; checkpoints written before are kept" if doing == TRAINING else ""
        raise ConfigError(
            f"the memory did not suffice while {doing}{kept}. Try {', '.join(remedies(config, doing))}"
        ) from error


def remedies(config: TrainConfig, doing: str) -> list[str]:
    """The options that are turned up, as they would be turned down."""
    on_a_card = not config.device.startswith("cpu")
    hints = [
        (on_a_card and config.precision == "fp32", "--precision bf16"),
        (config.resolution > 768, "--resolution 768"),
    ]
    if doing == TRAINING:
        hints = [
            (not config.gradient_checkpointing, "--gradient-checkpointing"),
            (config.batch_size > 1, f"--batch-size 1 --grad-accum {config.batch_size * config.grad_accum}"),
            (on_a_card and config.sample_every > 0 and config.offload == "none", "--offload model"),
            *hints,
            (config.sample_every > 0, "--sample-every 0"),
            (on_a_card and config.base_precision == "auto", "--base-precision int8"),
            (on_a_card and config.offload != "blocks", "--offload blocks"),
        ]
    found = [hint for turned_up, hint in hints if turned_up]
    return found or ["a GPU with more memory" if on_a_card else "a machine with more memory"]
