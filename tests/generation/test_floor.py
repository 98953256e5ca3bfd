"""--floor: the untouched base's pictures beside those of the adapter, and no others than --no-adapter draws."""

from __future__ import annotations

import numpy as np
import pytest

from coeffdream.backbones.base import find_base
from coeffdream.errors import ConfigError
from coeffdream.generation import run as generation
from coeffdream.generation.request import GenerateRequest
from coeffdream.interop.choice import LoraChoice
from coeffdream.metrics.untouched import find_floor
from coeffdream.progress import silent


def test_the_floor_is_what_no_adapter_draws(run_of, tiny_base, draw_set, pixels):
    """One command draws what two did, eval finds its floor, and the benchmark is still what is scored."""
    run = run_of()
    request = GenerateRequest(prompts=("<V> cat in snow",), images_per_prompt=2, device="cpu", floor=True)
    adapted, untouched = generation.generate_beside_base(
        request, run, run.read(), find_base(str(tiny_base)), grid=False, progress=silent, warn=lambda _: None
    )
    assert untouched.folder.path.name == f"{adapted.folder.path.name}-base"
    warned: list[str] = []
    floor = find_floor(run.images, adapted.folder, adapted.folder.read_set(), warned)
    assert floor is not None
    assert (floor.path, warned) == (untouched.folder.path, [])
    alone = draw_set(run, "<V> cat in snow", images_per_prompt=2, no_adapter=True, set_name="alone")
    assert np.array_equal(pixels(untouched), pixels(alone))
    assert np.abs(pixels(adapted) - pixels(untouched)).max() > 0


@pytest.mark.parametrize(("other", "said"), [("no_adapter", "--no-adapter"), ("unrelated", "--unrelated")])
def test_what_it_does_not_go_with(other, said):
    """Without an adapter all is floor, and unrelated prompts are drawn twice anyway."""
    with pytest.raises(ConfigError, match=f"--floor is .* leave out it or {said}"):
        GenerateRequest(floor=True, **{other: True}).check()


def test_another_tools_adapter_alone_has_a_floor(tmp_path):
    """--lora without a run draws with something, beside which the untouched base is a floor like any other."""
    lora = LoraChoice(tmp_path / "theirs.safetensors", 1.0)
    GenerateRequest(floor=True, no_adapter=True, loras=(lora,)).check()
