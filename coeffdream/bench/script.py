"""diffusers' own training script, timed from outside: the seconds of a step, and of the whole process."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from coeffdream.config import TrainConfig
from coeffdream.errors import ConfigError

TARGETS = "all.q,all.k,all.v,all.out"  # what it trains, and does not let one choose
PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def time_script(script: Path, base: str, photos: Path, config: TrainConfig) -> tuple[float, float]:
    """(seconds of a step, seconds of the process that made `config.steps` + 1 of them).

    A step is the difference between that process and one that makes a single step. Raises ConfigError with the
    last line that the script printed when it fails.
    """
    if not script.is_file():
        raise ConfigError(
            f"--script {script} is no file; it is train_dreambooth_lora_sdxl.py of diffusers' examples/dreambooth"
        )
    one, all_of_them = (_run(script, base, photos, config, steps) for steps in (1, config.steps + 1))
    return (all_of_them - one) / config.steps, all_of_them


def _run(script: Path, base: str, photos: Path, config: TrainConfig, steps: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, str(script)),
            *("--pretrained_model_name_or_path", base),
            *("--instance_data_dir", str(photos)),
            *("--instance_prompt", "a photo of sks cat"),
            *("--output_dir", folder),
            *("--resolution", str(config.resolution)),
            *("--train_batch_size", str(config.batch_size)),
            *("--max_train_steps", str(steps)),
            *("--rank", str(config.rank)),
            *("--learning_rate", str(config.lr)),
            *("--mixed_precision", PRECISIONS[config.precision]),
            *("--seed", "0"),
            *(["--gradient_checkpointing"] if config.gradient_checkpointing else []),
        ]
        start = time.perf_counter()
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        spent = time.perf_counter() - start
    if ended.returncode:
        last = (ended.stderr.strip() or ended.stdout.strip() or "no word").splitlines()[-1]
        raise ConfigError(f"--script {script} ended with status {ended.returncode}: {last[:300]}")
    return spent
