"""The base's scheduler, and whether its noise is DDPM's, which training draws from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from coeffdream.backbones.kind import GIVE_SDXL
from coeffdream.backbones.quiet import quiet
from coeffdream.config import PREDICTION_TYPES, Prediction
from coeffdream.errors import BaseModelError


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

    own = getattr(scheduler, "alphas_cumprod", None)
    predicted = scheduler.config.get("prediction_type", "epsilon")
    if predicted not in PREDICTIONS:
        raise BaseModelError(
            f"--base {name}: its scheduler predicts {predicted!r:.60}; coeffdream trains {', '.join(PREDICTIONS)} models"
        )
    try:
        with quiet():
            trained = DDPMScheduler.from_config(scheduler.config).alphas_cumprod
    # DDPMScheduler raises this for a beta schedule that it does not know.
    except NotImplementedError:
        trained = None
    # A scheduler for drawing may keep the last step of a zero terminal SNR just above zero.
    if (
        own is None
        or trained is None
        or own.shape != trained.shape
        or not torch.allclose(own, trained, atol=1e-6)
    ):
        raise BaseModelError(
            f"--base {name}: the noise schedule of its {type(scheduler).__name__} is not one of DDPM's; {GIVE_SDXL}"
        )
