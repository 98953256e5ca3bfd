"""The base's scheduler, and whether its noise is DDPM's, which training draws from."""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Mapping
from typing import Any

import torch

from coeffdream.backbones.kind import GIVE_SDXL
from coeffdream.backbones.quiet import quiet
from coeffdream.config import PREDICTION_TYPES, Prediction
from coeffdream.errors import BaseModelError, ConfigError, quoted


def read_scheduler(name: str, config: Mapping[str, Any], prediction: Prediction) -> Any:
    """The scheduler of a config; `prediction` overrides what it predicts.

    Raises BaseModelError for one whose noise schedule DDPM's cannot express (EDM, flow matching).
    """
    import diffusers

    class_name = str(config.get("_class_name", ""))
    if told := _another_noise(class_name, config):
        raise BaseModelError(f"--base {name} is trained on {told}, which DDPM's cannot express; {GIVE_SDXL}")
    scheduler_class: Any = getattr(diffusers, class_name, None)
    if not (hasattr(scheduler_class, "from_config") and hasattr(scheduler_class, "set_timesteps")):
        raise BaseModelError(
            f"--base {name} has the scheduler {class_name!r:.60}, which this diffusers does not know"
        )
    predicts = {} if prediction == "auto" else {"prediction_type": PREDICTION_TYPES[prediction]}
    try:
        with quiet():
            scheduler = scheduler_class.from_config({**config, **predicts})
    except Exception as error:  # its constructor meets values of any kind
        raise BaseModelError(f"--base {name} has a scheduler that cannot be made ({error})") from None
    _check_noise(name, scheduler)
    return scheduler


def drawing_scheduler(own: Any, asked: str) -> Any:
    """Another scheduler over the noise that a base's `own` is of: NAME or NAME:KEY=VALUE,KEY=VALUE, by diffusers' names.

    Raises ConfigError for what diffusers has not, or what would be of another noise.
    """
    import diffusers

    name, _, typed = asked.partition(":")
    known = [each for each in dir(diffusers) if each.endswith("Scheduler")]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or ["EulerAncestralDiscreteScheduler"]
        raise ConfigError(f"--scheduler {quoted(name)} is none of diffusers'; try {', '.join(near)}")
    scheduler_class: Any = getattr(diffusers, name)
    options = dict(_option(scheduler_class, each) for each in typed.split(",") if each)
    try:
        with quiet():
            made = scheduler_class.from_config(own.config, **options)
    except Exception as error:  # its constructor meets values of any kind
        raise ConfigError(f"--scheduler {quoted(asked)} cannot be made ({error})") from None
    if not (hasattr(made, "init_noise_sigma") and _alike(made, own)):
        raise ConfigError(
            f"--scheduler {quoted(asked)} has another noise schedule than the base was trained on"
        )
    try:
        made.set_timesteps(2)  # where some options are first read
    except Exception as error:
        raise ConfigError(f"--scheduler {quoted(asked)} cannot be used ({error})") from None
    return made


def _option(scheduler_class: Any, typed: str) -> tuple[str, Any]:
    """KEY=VALUE of a scheduler; a value that JSON can read is what JSON reads."""
    key, equals, value = typed.partition("=")
    known = list(inspect.signature(scheduler_class.__init__).parameters)[1:]
    if not equals or key not in known:
        near = difflib.get_close_matches(key, known, n=3) or known[:3]
        raise ConfigError(
            f"--scheduler: {quoted(typed)} sets nothing of {scheduler_class.__name__}; write KEY=VALUE, with KEY such "
            f"as {', '.join(near)}"
        )
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value


def prediction_of(scheduler: Any) -> Prediction:
    """What a base predicts, as --prediction says it; auto for what that has no word for."""
    known: dict[str, Prediction] = {value: key for key, value in PREDICTION_TYPES.items()}
    return known.get(scheduler.config.prediction_type, "auto")


def _another_noise(class_name: str, config: Mapping[str, Any]) -> str | None:
    if "Flow" in class_name or config.get("use_flow_sigmas") or "flow" in str(config.get("prediction_type")):
        return f"the noise of flow matching ({class_name:.60})"
    if class_name.startswith("EDM") or config.get("timestep_type") == "continuous":
        return f"EDM's noise schedule ({class_name:.60})"
    return None


def _check_noise(name: str, scheduler: Any) -> None:
    from diffusers import DDPMScheduler

    from coeffdream.diffusion.objective import PREDICTIONS

    predicted = scheduler.config.get("prediction_type", "epsilon")
    if predicted not in PREDICTIONS:
        raise BaseModelError(
            f"--base {name}: its scheduler predicts {predicted!r:.60}; coeffdream trains {', '.join(PREDICTIONS)} models"
        )
    try:
        with quiet():
            trained = DDPMScheduler.from_config(scheduler.config)
    # DDPMScheduler raises this for a beta schedule that it does not know.
    except NotImplementedError:
        trained = None
    if trained is None or not _alike(scheduler, trained):
        raise BaseModelError(
            f"--base {name}: the noise schedule of its {type(scheduler).__name__} is not one of DDPM's; {GIVE_SDXL}"
        )


def _alike(scheduler: Any, trained: Any) -> bool:
    """Whether one draws from the noise that the other trains on."""
    own, wanted = getattr(scheduler, "alphas_cumprod", None), trained.alphas_cumprod
    if own is None or own.shape != wanted.shape:
        return False
    # A scheduler for drawing may keep the last step of a zero terminal SNR just above zero.
    return torch.allclose(own, wanted, atol=1e-6)
