"""The files of `adapter/` and of a checkpoint that hold what was learned (see adapters/files.py)."""

from __future__ import annotations

from coeffdream.records.run import COEFF_FILE, LORA_FILE

# A method of PEFT's, in PEFT's own layout.
MODEL_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
# What `full` and `bitfit` add to the base's own weights.
CHANGES_FILE = "weight_changes.safetensors"

# Of these an adapter has one, or none.
WEIGHT_FILES = (LORA_FILE, MODEL_FILE, CHANGES_FILE)
TENSOR_FILES = (*WEIGHT_FILES, COEFF_FILE)
ADAPTER_FILES = (*TENSOR_FILES, CONFIG_FILE)
