"""What was meant by an option that a command does not have, or by a word that it has no place for."""

from __future__ import annotations

import difflib
import shlex
from typing import Any

# What other trainers and pipelines call an option of ours. Only those that the command has are suggested.
ELSEWHERE = {
    "--learning-rate": "--lr",
    "--lernrate": "--lr",
    "--unet-lr": "--lr",
    "--max-train-steps": "--steps",
    "--num-inference-steps": "--steps",
    "--epochs": "--steps",
    "--train-batch-size": "--batch-size",
    "--gradient-accumulation-steps": "--grad-accum",
    "--instance-data-dir": "--concept",
    "--train-data-dir": "--concept",
    "--images": "--concept",
    "--photos": "--concept",
    "--data": "--concept",
    "--class-noun": "--class",
    "--class-prompt": "--class",
    "--instance-prompt": "--caption",
    "--pretrained-model-name-or-path": "--base",
    "--model": "--base",
    "--network-dim": "--rank",
    "--mixed-precision": "--precision",
    "--fp8-base": "--base-precision",
    "--quantize": "--base-precision",
    "--load-in-4bit": "--base-precision",
    "--load-in-8bit": "--base-precision",
    "--model-offload": "--offload",
    "--blocks-to-swap": "--offload",
    "--torch-compile": "--compile",
    "--dynamo-backend": "--compile",
    "--snr-gamma": "--min-snr",
    "--with-prior-preservation": "--prior",
    "--prior-loss-weight": "--prior-weight",
    "--num-class-images": "--prior-images",
    "--output-dir": "--runs",
    "--output-name": "--name",
    "--checkpointing-steps": "--checkpoint-every",
    "--validation-steps": "--sample-every",
    "--resume-from-checkpoint": "--resume",
    "--guidance-scale": "--guidance",
    "--cfg-scale": "--guidance",
    "--negative-prompt": "--negative",
    "--num-images-per-prompt": "--images-per-prompt",
    "--height": "--size",
    "--width": "--size",
}
# Where a command takes no bare word, or one too many: what such a word is.
BARE = {"train": "--concept", "import": "--concept", "params": "--base"}

UNEXPECTED = "Got unexpected extra argument(s) ("


def suggestion(error: Any) -> str:
    """ " (did you mean --lr?)" for a usage error of Typer's; nothing where nothing is near."""
    if error.ctx is None:
        return ""
    known = {option for each in error.ctx.command.params for option in (*each.opts, *each.secondary_opts)}
    if hasattr(error, "possibilities"):  # no such option
        typed = error.option_name.lower().replace("_", "-")
        names = {option: option for option in known if option.startswith("--")}
        names |= {name: option for name, option in ELSEWHERE.items() if option in known}
        near = difflib.get_close_matches(typed, names, n=1, cutoff=0.7)
        return f" (did you mean {names[near[0]]}?)" if near else ""
    option = BARE.get(error.ctx.info_name)
    if option is not None and error.message.startswith(UNEXPECTED):
        word = error.message.removeprefix(UNEXPECTED)[:-1]
        return f" (did you mean {option} {shlex.quote(word)}?)"
    return ""
