"""Every method of PEFT that changes linear layers where they stand, by its name in PEFT's own registry.

A method that a later PEFT adds is there without an edit. Only what PEFT says too late is written down here.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, get_type_hints

from torch import nn

from coeffdream.checked import converted, did_you_mean
from coeffdream.errors import AdapterError, ConfigError, listed, quoted, together

# What PEFT calls an adapter of which there is one.
ADAPTER_NAME = "default"

# PEFT calls this a LoRA with one more option; everybody else calls it a method.
VARIANTS = {"dora": ("lora", {"use_dora": True})}
# These go in without a word and fail, or need something of every caller, in the first forward.
FAILING = {
    "adaption_prompt": "it is for Llama, Mistral and GPT-2 alone",
    "poly": "every input must come with the number of its task",
    "shadow": "it is a second model beside a language model",
    "trainable_tokens": "it changes rows of an embedding, and no linear layer",
}
# What the caller decides, or PEFT itself.
RESERVED = {
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "peft_type",
    "peft_version",
    "revision",
    "target_modules",
    "task_type",
}


def method_names() -> list[str]:
    """The methods of the PEFT that is installed, in alphabetical order."""
    return sorted([*_classes(), *VARIANTS])


def method_config(name: str, targets: Sequence[str], options: Sequence[str] = ()) -> Any:
    """PEFT's config of a method on these modules. `options` are "key=value", typed by PEFT's own config class.

    Raises ConfigError with everything that is wrong with the name or the options.
    """
    kind, given = VARIANTS.get(name, (name, {}))
    classes = _classes()
    if kind not in classes:
        reason = FAILING.get(name)
        raise ConfigError(
            f"PEFT's {name} cannot be put beside attention here: {reason}"
            if reason
            else f"PEFT has no method {quoted(name)} for linear layers{did_you_mean(name, method_names())}; "
            f"there are {', '.join(method_names())}"
        )
    config_class = classes[kind]
    known = _fields_of(config_class)
    values: dict[str, Any] = dict(given)
    problems = []
    for option in options:
        key, sign, text = option.partition("=")
        if not sign or key not in known or key in RESERVED or key in given:
            problems.append(
                f"{name} has no option {quoted(option)}{did_you_mean(key, set(known) - RESERVED)}"
            )
            continue
        try:
            values[key] = _typed(known[key], text)
        except ValueError as error:
            problems.append(f"{key}={quoted(text)} does not fit: {error}")
    if problems:
        raise ConfigError(together(f"these options of {name} cannot be used", problems))
    if "feedforward_modules" in known:  # PEFT wants to be told which of the targets are no attention: none
        values.setdefault("feedforward_modules", [])
    if "progressbar" in known:  # how work tells its progress is not its own choice
        values.setdefault("progressbar", False)
    try:
        return config_class(target_modules=list(targets), **values)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"PEFT refuses these options of {name}: {_one_line(error)}") from None


def config_values(config: Any) -> dict[str, Any]:
    """What adapter_config.json says of a config: PEFT's own names and JSON's own types, of the caller's modules."""
    taken = config.to_dict()
    fields = [each.name for each in dataclasses.fields(config) if each.init and each.name not in RESERVED]
    values = {name: taken[name] for name in fields}
    values = {name: sorted(value) if isinstance(value, set) else value for name, value in values.items()}
    return {"peft_type": config.peft_type.value, "target_modules": config_targets(config), **values}


def config_from(values: Mapping[str, Any]) -> tuple[str, Any]:
    """The name and the config of `config_values`, of which nothing is believed. Raises ValueError."""
    given = dict(values)
    kind, targets = given.pop("peft_type", None), given.pop("target_modules", None)
    name, classes = str(kind).lower(), _classes()
    if name not in classes:
        raise ValueError(f"peft_type {quoted(kind)} is none that PEFT can put in here")
    if not isinstance(targets, list) or not targets or not all(isinstance(each, str) for each in targets):
        raise ValueError(f"target_modules {quoted(targets)} is no list of modules")
    known = _fields_of(classes[name])
    if unknown := [key for key in given if key not in known or key in RESERVED]:
        raise ValueError(f"{name} has no option {quoted(unknown[0])}{did_you_mean(unknown[0], known)}")
    try:
        typed = {key: converted(known[key], value) for key, value in given.items()}
        return name, classes[name](target_modules=targets, **typed)
    except (ValueError, TypeError) as error:
        raise ValueError(_one_line(error)) from None


def needs_calls(config: Any) -> bool:
    """Whether PEFT wants to be called after every step: for what it then does, and keeps, no file of its has a place."""
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING

    tuner = PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type]
    return hasattr(tuner, "update_and_allocate") and getattr(config, "use_asa", True)


def with_method(model: nn.Module, name: str, config: Any) -> Any:
    """The PEFT model around `model`, which PEFT freezes.

    Raises AdapterError with PEFT's reason where it does not fit; `model` may then be changed in part, and is of no use.
    """
    from peft import get_peft_model

    try:
        # PEFT's signature asks for a model of transformers; its code takes any module.
        return get_peft_model(model, config, ADAPTER_NAME)  # type: ignore[arg-type]
    # Sizes that do not divide, options that contradict: each tuner of PEFT raises what it likes.
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, NotImplementedError) as error:
        raise AdapterError(
            f"PEFT cannot put {name} into this {type(model).__name__} ({listed(config_targets(config))}): {_one_line(error)}"
        ) from error


def config_targets(config: Any) -> list[str]:
    return sorted(config.target_modules)


def _classes() -> dict[str, Any]:
    """Config classes by method: those with a tuner that takes the modules it changes by name."""
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING

    names = {kind.value.lower(): config for kind, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    served = {kind.value.lower() for kind in PEFT_TYPE_TO_TUNER_MAPPING} - FAILING.keys()
    return {
        name: config
        for name, config in names.items()
        if name in served and "target_modules" in {field.name for field in dataclasses.fields(config)}
    }


def _fields_of(config_class: Any) -> dict[str, Any]:
    """The type of each field that a caller may set."""
    hints = get_type_hints(config_class)
    return {field.name: hints[field.name] for field in dataclasses.fields(config_class) if field.init}


def _typed(hint: Any, text: str) -> Any:
    """Text as JSON where that fits ("4", "true", "[1,2]"), else as it is. Raises ValueError."""
    try:
        return converted(hint, json.loads(text))
    except (ValueError, RecursionError):
        return converted(hint, text)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
