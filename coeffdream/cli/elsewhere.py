"""What to tell a person about using a run in other tools: which file goes where, and what it lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coeffdream.cli.terminal import near, say, warn

if TYPE_CHECKING:
    from coeffdream.records.run import RunFolder, RunRecord


def tell_where_files_go(run: RunFolder, record: RunRecord) -> None:
    """One line a tool. Silent about tools that can load nothing of this run, but for saying so."""
    from coeffdream.interop.names import portable_name
    from coeffdream.methods import takes_loras_place
    from coeffdream.records.adapter_names import MODEL_FILE
    from coeffdream.records.run import LORA_FILE

    portable = run.adapter / portable_name(record.name)
    mixed = record.parameters.alpha_layers
    if (run.adapter / MODEL_FILE).is_file():
        say(f'for PEFT: PeftModel.from_pretrained(pipeline.unet, "{near(run.adapter)}")')
        if mixed:
            warn(f"PEFT draws it without alpha, the head mixing of {mixed} attention layers")
    if takes_loras_place(record.method):
        warn(
            f"other tools load LoRAs, which {record.method} is not; the nearest one: coeffdream export {record.name} "
            "--as-lora 8"
        )
        return
    if not portable.is_file():
        warn(
            f"no other tool can load this run: it has no LoRA, only head mixing; a LoRA that comes near: "
            f"coeffdream export {record.name} --approximate-alpha 16"
        )
        return
    loaders = "ComfyUI, A1111, Forge, SD.Next, InvokeAI"
    if record.method.endswith("dora"):
        loaders = "ComfyUI, Forge"
        say(f"for loaders that read DoRA otherwise (A1111): coeffdream export {record.name} --as-lora 8")
    say(f"for {loaders}: copy {near(portable)} to their LoRA folder")
    say(f'for diffusers: pipeline.load_lora_weights("{near(run.adapter)}", weight_name="{LORA_FILE}")')
    if mixed:
        warn(
            f"they draw it without alpha, the head mixing of {mixed} attention layers, which no LoRA file can hold; "
            f"one that comes near: coeffdream export {record.name} --approximate-alpha 16"
        )
