"""generate --compile: the same pictures but for rounding from compiled blocks, chosen by measuring, and never in silence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from torch._dynamo.utils import counters

from coeffdream.backbones.base import find_base
from coeffdream.errors import ConfigError
from coeffdream.generation import at_work
from coeffdream.generation import run as generation
from coeffdream.generation.request import GenerateRequest
from coeffdream.progress import silent
from coeffdream.records.commands import generate_command

SNOW = "<V> cat in snow"
pytestmark = pytest.mark.usefixtures("nothing_compiled")


@pytest.fixture
def takes(monkeypatch):
    """Let the two ways take these seconds a pass, whatever they do; how often either was timed."""
    measured = at_work._seconds

    def decide(**seconds: float) -> list[str]:
        timed = []

        def told(components, *given):
            spent = measured(components, *given)
            compiled = any(each._compiled_call_impl for each in components.unet.modules())
            timed.append("compiled" if compiled else "as_written")
            return [seconds[timed[-1]]] * len(spent)

        monkeypatch.setattr(at_work, "_seconds", told)
        return timed

    return decide


@pytest.mark.usefixtures("gxx")
def test_compiled_pictures_are_the_pictures(run_of, draw_set, pixels):
    """By torch's own compiler, in a set of their own that says so. What is left for a smaller batch compiles nothing anew."""
    run, graphs = run_of("coeff-dora"), []

    def look(stage, done, total, detail):
        if stage == "drawing":
            graphs.append(counters["stats"]["unique_graphs"])

    plain = draw_set(run, SNOW, images_per_prompt=3, batch_size=2)
    made = draw_set(run, SNOW, images_per_prompt=3, batch_size=2, compile="on", progress=look)
    assert made.folder.path != plain.folder.path
    assert (plain.folder.read_set().settings.compiled, made.folder.read_set().settings.compiled) == (
        False,
        True,
    )
    assert np.abs(pixels(made) - pixels(plain)).max() <= 1
    assert graphs[0] > 0
    assert len(set(graphs)) == 1
    assert " --compile on " in generate_command(run, run.read(), made.folder.read_set())
    assert "--compile" not in generate_command(run, run.read(), plain.folder.read_set())


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("guidance", [3.0, 1.0])
def test_whole_batches_are_drawn_by_what_was_timed(guidance, run_of, draw_set):
    """What diffusers' pipeline passes is what was compiled for: it would run as written, in silence, if anything differed."""

    def from_here_on(stage, done, total, detail):
        if stage == "drawing":
            torch.compiler.set_stance("fail_on_recompile")

    made = draw_set(
        run_of(),
        SNOW,
        images_per_prompt=4,
        batch_size=2,
        guidance=guidance,
        compile="on",
        progress=from_here_on,
    )
    assert len(made.images) == 4


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize(("seconds", "chosen"), [(0.5, True), (2.0, False)])
def test_auto_keeps_the_faster_and_says_both(seconds, chosen, run_of, draw_set, pixels, takes):
    """Where that is the way it is written, the set is the one that is drawn without a word of compiling."""
    takes(as_written=1.0, compiled=seconds)
    run, heard = run_of(), []
    made = draw_set(run, SNOW, images_per_prompt=1, compile="auto", warn=heard.append)
    assert made.folder.read_set().settings.compiled is chosen
    [said] = [line for line in heard if "--compile" in line]
    assert f"{seconds * 1000:.0f} ms compiled, 1000 ms as written; drawing goes on" in said
    again = draw_set(run, SNOW, images_per_prompt=1)
    assert again.already_there == (0 if chosen else 1)
    assert np.abs(pixels(again) - pixels(made)).max() <= 1


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("compiled", ["on", "off"])
def test_a_set_goes_on_as_it_was_begun(compiled, run_of, draw_set, takes):
    """auto measures nothing where the answer stands in set.json."""
    run = run_of()
    begun = draw_set(run, SNOW, images_per_prompt=2, compile=compiled)
    begun.folder.set_file.with_name("images.jsonl").unlink()
    timed = takes(as_written=1.0, compiled=1.0)
    made = draw_set(run, SNOW, images_per_prompt=2, compile="auto")
    assert made.folder.path == begun.folder.path
    assert made.folder.read_set().settings.compiled == (compiled == "on")
    assert timed == (["compiled"] if compiled == "on" else [])


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("floor", [True, False])
def test_what_is_complete_is_not_compiled_for(floor, run_of, draw_set, monkeypatch):
    """Nor what the untouched base drew for a run beside this one. One picture missing, and it is."""
    run = run_of()
    given = {"images_per_prompt": 2, "batch_size": 2, "compile": "on", "no_adapter": floor}
    made = draw_set(run, SNOW, **given)
    if floor:
        run = run_of("dora")

    def fails(self, **how):
        raise RuntimeError("compiled")

    monkeypatch.setattr(UNet2DConditionModel, "compile_repeated_blocks", fails)
    again = draw_set(run, SNOW, **given)
    assert (again.already_there, again.shared) == ((0, 2) if floor else (2, 0))
    assert again.folder.read_set().settings.compiled
    (made.folder.path / made.images[0].file).unlink()
    if floor:
        (again.folder.path / made.images[0].file).unlink()
    with pytest.raises(ConfigError, match="--compile on"):
        draw_set(run, SNOW, **given)


@pytest.mark.usefixtures("traced")
def test_what_is_held_against_each_other_is_drawn_in_one_way(run_of, tiny_base, takes):
    """The untouched base's pictures decide; those with the adapter follow, compiled anew for it."""
    timed = takes(as_written=1.0, compiled=0.5)
    run = run_of()
    request = GenerateRequest(prompts=(SNOW,), images_per_prompt=1, device="cpu", floor=True, compile="auto")
    both = generation.generate_beside_base(
        request, run, run.read(), find_base(str(tiny_base)), grid=False, progress=silent, warn=lambda _: None
    )
    assert all(made.folder.read_set().settings.compiled for made in both)
    assert timed == ["as_written", "compiled", "compiled"]


def test_blocks_that_cannot_be_compiled(run_of, draw_set, monkeypatch):
    """on: one line, and no set was begun. auto: said, and drawn as written."""

    def fails(self, **how):
        raise RuntimeError("no compiler\nwith many more lines")

    monkeypatch.setattr(UNet2DConditionModel, "compile_repeated_blocks", fails)
    run, heard = run_of(), []
    with pytest.raises(ConfigError, match=r"--compile on: .* \(no compiler\); leave it out"):
        draw_set(run, SNOW, images_per_prompt=1, compile="on")
    assert not run.images.exists()
    made = draw_set(run, SNOW, images_per_prompt=1, compile="auto", warn=heard.append)
    assert not made.folder.read_set().settings.compiled
    assert any("cannot be compiled here (no compiler); drawing goes on without" in line for line in heard)


@pytest.mark.usefixtures("traced")
def test_it_leaves_no_trace(run_of, draw_set, monkeypatch):
    """A process that keeps the base draws the next set as written."""
    seen = []

    def noted(unet):
        taken_back(unet)
        seen.append(any(each._compiled_call_impl for each in unet.modules()))

    taken_back = at_work.take_back
    monkeypatch.setattr(at_work, "take_back", noted)
    draw_set(run_of(), SNOW, images_per_prompt=1, compile="on")
    assert seen == [False]
