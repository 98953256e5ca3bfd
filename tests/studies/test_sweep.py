"""A sweep draws every checkpoint once, whatever happens in between, and its record says what was found."""

from __future__ import annotations

import shutil

import pytest

from coeffdream.adapters.files import adapter_hashes
from coeffdream.backbones.base import base_of
from coeffdream.errors import ConfigError, RunError
from coeffdream.generation import batches, loading
from coeffdream.metrics.feature_cache import FeatureCache
from coeffdream.progress import silent
from coeffdream.records.checkpoints import checkpoint_folder
from coeffdream.records.images import SetFolder
from coeffdream.records.sweep import read_sweep
from coeffdream.studies.keep import keep
from coeffdream.studies.sweep import sweep
from coeffdream.studies.sweep_drawing import evenly
from coeffdream.studies.sweep_figure import draw_sweep
from coeffdream.studies.sweep_options import SweepOptions

# Two pictures of the concept and two unrelated ones: by the base, and at three checkpoints.
QUICK = {"prompts": 2, "steps": 1, "device": "cpu", "batch_size": 1}
DRAWN = 4 * (1 + 3)


@pytest.fixture
def swept(run, colors, tmp_path):
    """Sweep the run; options may be added."""

    def call(**options):
        return sweep(
            run,
            SweepOptions(**{**QUICK, **options}),
            base_of(run.read().base),
            encoders=colors,
            cache=FeatureCache(tmp_path / "features"),
            progress=silent,
            warn=lambda line: None,
        )

    return call


@pytest.fixture
def counted(monkeypatch):
    """How often something was loaded or drawn; `stop_at`: which drawing a person interrupts."""
    count = {"draw": 0, "base_components": 0, "stop_at": 0}

    def counting(name):
        where = batches if name == "draw" else loading
        real = getattr(where, name)

        def call(*args, **kwargs):
            count[name] += 1
            if name == "draw" and count["draw"] == count["stop_at"]:
                raise KeyboardInterrupt
            return real(*args, **kwargs)

        monkeypatch.setattr(where, name, call)

    counting("draw")
    counting("base_components")
    return count


def test_every_checkpoint_is_drawn_scored_and_judged(run, swept, counted):
    """On one loaded base, into sweep/ and nothing else; the record holds what the rule says of its own points."""
    before = set(run.path.iterdir())
    made = swept()
    assert counted == {"draw": DRAWN, "base_components": 1, "stop_at": 0}
    assert {path.name for path in run.path.iterdir()} == {
        *(path.name for path in before),
        "sweep",
        "sweep.json",
    }
    assert read_sweep(run) == made
    assert [each.measured.step for each in made.points] == [1, 2, 3]
    assert (len(made.prompts), len(made.unrelated_prompts)) == (2, 2)
    assert (made.kept, made.why) == keep([each.measured for each in made.points], made.levels)
    assert all(each.measured.validation_loss is not None for each in made.points)
    for each in made.points:
        settings = SetFolder(run.path / "sweep" / each.measured.set).read_set().settings
        assert settings.checkpoint == each.measured.step
        assert settings.adapter == adapter_hashes(checkpoint_folder(run.checkpoints, each.measured.step))
    drifts = [each.measured.drift for each in made.points]
    assert len({*drifts, 0.0}) == 4


def test_the_adapter_is_in_for_both_sets_and_out_of_the_base_sets(run, swept):
    """At strength 0 every picture is the untouched base's: no drift, its likeness, its text alignment."""
    made = swept(lora_scale="0", alpha_scale="0")
    for each in made.points:
        assert each.measured.drift == pytest.approx(0, abs=1e-6)
        assert each.measured.likeness == pytest.approx(made.levels.likeness, abs=1e-6)
        assert each.measured.text_alignment == pytest.approx(made.levels.text_alignment, abs=1e-6)
    assert made.kept is None


def test_a_sweep_that_was_killed_goes_on(run, swept, counted):
    """Nothing is drawn twice, and the result is that of one that was left alone."""
    counted["stop_at"] = 7
    with pytest.raises(KeyboardInterrupt):
        swept()
    assert not run.sweep.exists()
    made = swept()
    assert counted["draw"] == DRAWN + 1  # the one that was interrupted came to nothing
    swept()
    assert counted["draw"] == DRAWN + 1
    shutil.rmtree(run.path / "sweep")
    again = swept()
    assert [each.measured for each in again.points] == [each.measured for each in made.points]


def test_more_strengths_later(swept, counted):
    """What was drawn before is not drawn again; every checkpoint has a point at each strength."""
    swept()
    made = swept(lora_scale="1,0.5")
    assert counted["draw"] == DRAWN + 4 * 3
    assert made.scales == [(1.0, 1.0), (0.5, 1.0)]
    assert len(made.points) == 6


def test_a_run_without_checkpoints(run, swept):
    """One line that says what keeps them, and nothing is left behind."""
    shutil.rmtree(run.checkpoints)
    before = sorted(run.path.rglob("*"))
    with pytest.raises(RunError, match="keeps no checkpoint to sweep; train with --checkpoint-every N"):
        swept()
    assert sorted(run.path.rglob("*")) == before


def test_an_altered_checkpoint_is_named(run, swept):
    """Before a picture is drawn with it."""
    file = checkpoint_folder(run.checkpoints, 2) / "state.json"
    file.write_text(file.read_text().replace('"step": 2', '"step": 3'))
    with pytest.raises(RunError, match=r"000002 is damaged"):
        swept()


def test_options_that_make_no_sweep():
    """All of them in one message."""
    with pytest.raises(ConfigError) as caught:
        SweepOptions(lora_scale="1,x", alpha_scale="nan", prompts=1, images_per_prompt=0, seed=-1).check()
    for flag in ("--lora-scale", "--alpha-scale", "--prompts", "--images-per-prompt", "--seed"):
        assert flag in str(caught.value)


def test_prompts_are_evenly_chosen():
    """The middle of each part: places and properties both, first and last ones not preferred."""
    listed = [str(number) for number in range(25)]
    assert evenly(listed, 5) == ("2", "7", "12", "17", "22")
    assert evenly(listed, 99) == tuple(listed)


def test_the_picture(swept, tmp_path):
    """Both files are written, whatever was kept, and equal records give equal bytes."""
    made = swept(lora_scale="1,0.5")
    files = draw_sweep(made, tmp_path / "one")
    assert [file.suffix for file in files] == [".png", ".svg"]
    assert "keep step" in files[1].read_text() or "no checkpoint to keep" in files[1].read_text()
    for one, other in zip(files, draw_sweep(made, tmp_path / "two"), strict=True):
        assert one.read_bytes() == other.read_bytes()
