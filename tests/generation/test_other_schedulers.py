"""Drawing with a scheduler that the base does not come with: the same noise, another way through it."""

from __future__ import annotations

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

from coeffdream.backbones.base import find_base
from coeffdream.backbones.load import load_components
from coeffdream.backbones.schedule import drawing_scheduler
from coeffdream.errors import ConfigError

KARRAS = "DPMSolverMultistepScheduler:use_karras_sigmas=true"


@pytest.fixture(scope="module")
def own(tiny_base):
    components = load_components(find_base(str(tiny_base)), device=torch.device("cpu"), dtype=torch.float32)
    return components.scheduler


def test_it_is_diffusers_own_over_the_bases_config(own):
    """What is not said stays the base's; what JSON reads is a number or a truth, else a word."""
    made = drawing_scheduler(own, f"{KARRAS},solver_order=3,timestep_spacing=trailing")
    assert type(made) is DPMSolverMultistepScheduler
    assert (made.config.use_karras_sigmas, made.config.solver_order) == (True, 3)
    assert made.config.timestep_spacing == "trailing"
    assert made.config.beta_schedule == own.config.beta_schedule
    assert type(own) is not type(made)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("LCM", "LCMScheduler"),
        ("", "--scheduler ''"),
        ("EulerDiscreteScheduler:timestep_spacin=trailing", "timestep_spacing"),
        ("EulerDiscreteScheduler:trailing", "KEY=VALUE"),
        ("DDPMScheduler:timestep_spacing=backwards", "cannot be used"),
        ("EDMEulerScheduler", "EDMEulerScheduler"),
        ("FlowMatchEulerDiscreteScheduler", "noise"),
        ("DDIMScheduler:beta_start=0.5", "another noise schedule"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_does(own, asked, said):
    """Before a picture is drawn from noise that the base has never seen."""
    with pytest.raises(ConfigError, match="--scheduler") as caught:
        drawing_scheduler(own, asked)
    assert said in str(caught.value)


def test_a_set_says_what_drew_it(run_of, draw_set):
    """Two schedulers make two pictures of one seed, and sets that are not taken for one another."""
    run = run_of()
    drawn = {
        scheduler: draw_set(run, "<V> cat", images_per_prompt=1, set_name=name, scheduler=scheduler)
        for name, scheduler in (("own", None), ("karras", KARRAS))
    }
    assert drawn[KARRAS].folder.read_set().settings.scheduler == KARRAS
    assert ":" not in drawn[None].folder.read_set().settings.scheduler
    assert drawn[None].images[0].sha256 != drawn[KARRAS].images[0].sha256
    again = draw_set(run, "<V> cat", images_per_prompt=1, set_name="own", scheduler=KARRAS)
    assert again.folder.path.name == "own-2"
