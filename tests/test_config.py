"""The layers of options, and that a wrong one is said clearly and together with all others."""

from __future__ import annotations

import dataclasses
import re
from typing import get_args

import pytest

from coeffdream.config import (
    LORA_TARGET,
    AttentionKind,
    Method,
    Preset,
    TrainConfig,
    flag_of,
)
from coeffdream.errors import ConfigError, UserError
from coeffdream.presets import PRESETS
from coeffdream.resolve import resolve

FIELDS = dataclasses.fields(TrainConfig)
EVERYWHERE = PRESETS["quality"]["lora_targets"]


def resolved_with(layers: list[str]) -> tuple[TrainConfig, dict[str, str]]:
    """lora_targets set to another value by each of `layers`, the preset 'quality' among them."""
    command_line: dict[str, object] = {"lora_targets": "self.v"} if "command line" in layers else {}
    if "preset" in layers:
        command_line["preset"] = "quality"
    file = {"lora_targets": "self.k"} if "file" in layers else {}
    recommended = {"lora_targets": "self.q"} if "base" in layers else {}
    result = resolve(command_line, file, recommended)
    return result.config, result.origins


@pytest.mark.parametrize(
    ("layers", "value", "origin"),
    [
        ([], TrainConfig.lora_targets, None),
        (["base"], "self.q", "base"),
        (["preset"], EVERYWHERE, "preset quality"),
        (["base", "preset"], EVERYWHERE, "preset quality"),
        (["base", "preset", "file"], "self.k", "config file"),
        (["base", "preset", "file", "command line"], "self.v", "command line"),
        (["base", "command line"], "self.v", "command line"),
        (["base", "file"], "self.k", "config file"),
    ],
)
def test_later_layers_win_and_are_named(layers, value, origin):
    """default < base < preset < file < command line, and `origins` says which one it was."""
    config, origins = resolved_with(layers)
    assert config.lora_targets == value
    assert origins.get("lora_targets") == origin


def test_layers_meet_field_by_field():
    """A layer overrides only what it sets; the rest still comes from below."""
    result = resolve({"seed": 3}, {"steps": 50, "seed": 2}, {"steps": 10, "lr": 1e-2, "seed": 1})
    config = result.config
    assert (config.seed, config.steps, config.lr, config.rank) == (3, 50, 1e-2, TrainConfig.rank)
    assert result.origins == {"seed": "command line", "steps": "config file", "lr": "base"}


def test_a_preset_in_the_file_counts_and_the_command_line_replaces_it():
    """--preset and `preset =` choose the same layer, the typed one first."""
    assert resolve({}, {"preset": "quality"}).config.lora_targets == EVERYWHERE
    both = resolve({"preset": "table3"}, {"preset": "quality"})
    assert both.config.preset == "table3"
    assert both.config.alpha_layers == PRESETS["table3"]["alpha_layers"]
    assert both.config.lora_targets == TrainConfig.lora_targets


def test_the_file_overrides_the_preset_that_the_command_line_names():
    """Naming a preset does not wipe what the file says in so many words."""
    config = resolve({"preset": "table3"}, {"lora_targets": "self.q"}).config
    assert (config.lora_targets, config.alpha_layers) == ("self.q", PRESETS["table3"]["alpha_layers"])


def test_file_keys_may_be_spelled_like_the_options():
    """A TOML file says coeff-dropout or coeff_dropout, class or class_noun."""
    config = resolve({}, {"coeff-dropout": 0.25, "class": "sloth"}).config
    assert (config.coeff_dropout, config.class_noun) == (0.25, "sloth")


def test_nothing_given_is_the_papers_run():
    """The defaults are the paper's: 200 steps, rank 2, Adam at 3e-4, batch 1, coeff-lora."""
    config = resolve({}).config
    assert config == TrainConfig()
    assert (config.method, config.steps, config.rank, config.lr, config.batch_size) == (
        "coeff-lora",
        200,
        2,
        3e-4,
        1,
    )
    assert config.caption == "a photo of <V> CLASS"


# fmt: off
BAD_VALUES = [
    ("steps", 0), ("rank", 0), ("batch_size", -1), ("grad_accum", 0), ("prior_images", 0),
    ("lr", 0.0), ("lr", float("nan")), ("coeff_lr", -1e-3), ("min_snr", float("inf")), ("prior_weight", 0.0),
    ("sample_every", -1), ("checkpoint_every", -1), ("seed", -1),
    ("coeff_dropout", 1.0), ("coeff_dropout", -0.1), ("coeff_dropout", float("nan")), ("noise_offset", float("nan")),
    ("holdout", -1), ("lr_warmup", -1), ("lr_warmup", 200), ("max_grad_norm", 0.0), ("max_grad_norm", float("nan")),
    ("caption_dropout", 1.0), ("caption_dropout", -0.1), ("ema", 1.0), ("ema", float("nan")),
    ("resolution", 8), ("resolution", 1020), ("token", ""), ("token", "two words"), ("caption", "a photo of a cat"),
    ("lora_targets", "cross.w"), ("lora_targets", ""), ("alpha_layers", "("),
    ("name", "../elsewhere"), ("name", "latest"), ("name", ""),
]
# fmt: on


def test_the_papers_recipe_has_none_of_the_rest():
    """Whatever else the field does with data and rates is off in `--preset paper`, as it is by default."""
    config = resolve({"preset": "paper"}).config
    assert (config.lr_schedule, config.lr_warmup, config.max_grad_norm, config.ema) == (
        "constant",
        0,
        None,
        None,
    )
    assert (config.caption_dropout, config.buckets, config.masked_loss, config.holdout) == (
        0.0,
        False,
        False,
        0,
    )


@pytest.mark.parametrize(("name", "value"), BAD_VALUES, ids=lambda value: repr(value))
def test_every_value_that_makes_no_run_is_refused_in_one_line(name, value):
    """The line names the option as it is typed and quotes what came in."""
    with pytest.raises(ConfigError) as caught:
        resolve({name: value})
    message = str(caught.value)
    assert flag_of(name) in message
    assert "\n" not in message
    assert repr(value).strip("'") in message
    assert issubclass(caught.type, UserError)


def test_all_problems_are_reported_together():
    """A person repairs them in one go instead of one per attempt."""
    with pytest.raises(ConfigError) as caught:
        resolve({"steps": 0, "coeff_dropout": 2.0}, {"resolution": 17, "lora_targets": "cross.q,self.x"})
    message = str(caught.value)
    assert "4 problems" in message
    for part in ("--steps 0", "--coeff-dropout 2.0", "--resolution 17", "'self.x'"):
        assert part in message


def test_unknown_keys_and_wrong_types_are_reported_together():
    """A misspelled key never vanishes, and does not hide the other mistakes of the file."""
    with pytest.raises(ConfigError) as caught:
        resolve({}, {"coef_dropout": 0.1, "steps": "many", "prior": 1, "rank": True})
    message = str(caught.value)
    assert "'coef_dropout'" in message
    assert "did you mean coeff_dropout?" in message
    assert "--steps 'many' is not a whole number" in message
    assert "--prior 1 is not true or false" in message
    assert "--rank True is not a whole number" in message


def test_an_unknown_key_like_no_other_lists_the_known_ones():
    """Without a near match the whole list is the remedy."""
    with pytest.raises(ConfigError, match=r"'zzzz', which is no option; known: concept, base, "):
        resolve({}, {"zzzz": 1})


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("method", 5, "text"),
        ("preset", "best", "one of paper, table3, quality"),
        ("preset", ["paper"], "one of paper, table3, quality"),
        ("alpha_on", "mid", "one of all, self, cross"),
        ("lr", "fast", "a number"),
        ("min_snr", "5", "a number"),
        ("steps", 1.5, "a whole number"),
        ("caption", 3, "text"),
    ],
)
def test_wrong_types_say_what_would_be_right(name, value, said):
    """Including values that no dictionary can look up, such as a TOML array for the preset."""
    with pytest.raises(ConfigError) as caught:
        resolve({}, {name: value})
    assert f"{flag_of(name)} {value!r} is not {said}" in str(caught.value)


def test_whole_numbers_are_numbers():
    """`lr = 1` in a TOML file is a number; `steps = 1.0` is not a whole one."""
    assert resolve({}, {"min_snr": 5}).config.min_snr == 5


def test_a_bad_value_recommended_by_a_base_is_refused_too():
    """coeffdream.json beside foreign weights is input like any other."""
    with pytest.raises(ConfigError, match="--resolution 30"):
        resolve({}, recommended={"resolution": 30})
    with pytest.raises(ConfigError, match="--precision 'fp8' is not one of auto, fp32"):
        resolve({}, recommended={"precision": "fp8"})


@pytest.mark.parametrize("preset", get_args(Preset))
@pytest.mark.parametrize("method", get_args(Method))
def test_every_preset_parses_with_every_method(preset, method):
    """What ships must be a valid config, and be in force as the preset says."""
    config = resolve({"preset": preset, "method": method}).config
    for name, value in PRESETS[preset].items():
        assert getattr(config, name) == value


def test_presets_and_options_are_the_same_set():
    """A preset that no option value names, or the reverse, could never be asked for."""
    assert set(PRESETS) == set(get_args(Preset))
    known = {each.name for each in FIELDS}
    assert all(set(values) <= known for values in PRESETS.values())


@pytest.mark.parametrize("each", FIELDS, ids=lambda each: each.name)
def test_every_field_explains_itself(each):
    """The help of an option lives on its field, so no field may be without."""
    assert each.metadata["help"].strip().endswith(".")
    assert each.metadata["group"] in ("What", "Adapter", "Training", "Output")
    assert re.fullmatch(r"--[a-z][a-z0-9-]*", flag_of(each.name))


def test_flags_are_unique():
    """Two fields with one flag would leave one of them unreachable."""
    flags = [flag_of(each.name) for each in FIELDS]
    assert len(flags) == len(set(flags))


@pytest.mark.parametrize(
    ("method", "lora", "dora", "coefficients"),
    [
        ("lora", True, False, False),
        ("dora", True, True, False),
        ("coeff", False, False, True),
        ("coeff-lora", True, False, True),
        ("coeff-dora", True, True, True),
    ],
)
def test_what_each_method_trains(method, lora, dora, coefficients):
    """The three switches that the installer reads."""
    config = TrainConfig(method=method)
    assert (config.uses_lora, config.uses_dora, config.uses_coefficients) == (lora, dora, coefficients)


def test_alpha_has_the_learning_rate_of_the_rest_unless_told():
    """--coeff-lr is optional."""
    assert TrainConfig(lr=1e-3).alpha_lr == 1e-3
    assert TrainConfig(lr=1e-3, coeff_lr=1e-2).alpha_lr == 1e-2


def test_lora_targets_name_every_kind_and_projection():
    """The spelling that --lora-targets documents is the spelling it accepts."""
    for kind in get_args(AttentionKind):
        for projection in ("q", "k", "v", "out"):
            assert LORA_TARGET.fullmatch(f"{kind}.{projection}")
    assert TrainConfig(lora_targets=" self.q , cross.out ").problems() == []


def test_a_config_cannot_be_changed_after_it_was_validated():
    """What run.json says was in force was in force."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().steps = 3


@pytest.mark.parametrize("kept", [{"base_precision": "int8"}, {"offload": "blocks"}])
def test_a_method_that_wants_the_weights_as_they_are(kept):
    """Beside weights that are made anew for each product only what was proved to learn there is let in."""
    for method in get_args(Method):
        assert TrainConfig(method=method, **kept).problems() == []
    [said] = TrainConfig(method="coeff-full", **kept).problems()
    assert "--base-precision" in said
    assert "choose lora or dora" in said
