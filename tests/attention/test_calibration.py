"""`auto` finds out by itself what is fast, and takes nothing that is not right."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from dataclasses import replace
from functools import partial

import pytest
import torch
from filelock import FileLock, Timeout

from coeffdream.attention import calibrate as calibrating
from coeffdream.attention import choice, mixed_attention
from coeffdream.attention.calibrate import ShapeClass, Verdict, calibrate
from coeffdream.attention.calibrations import CalibrationFile
from coeffdream.attention.reference import reference
from coeffdream.errors import AttentionError, UserError

SMALL = ShapeClass("float32", 1, 3, 16, 12, 8)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def undecided(monkeypatch):
    """As in a process that has called nothing yet, and without the user's own wish."""
    monkeypatch.setattr(choice, "_chosen", {})
    monkeypatch.delenv(choice.FORCED, raising=False)


@pytest.fixture
def as_on_a_card(monkeypatch):
    """The CPU is measured as an accelerator is."""
    monkeypatch.setattr(choice, "calibrates", lambda device: True)


@pytest.fixture
def plant(monkeypatch):
    """Adds a backend of the test's own to those that are tried, faster than any."""

    def plant(backend, name="planted"):
        original = calibrating.candidates
        monkeypatch.setattr(
            calibrating, "candidates", lambda of, query: {name: backend, **original(of, query)}
        )

    return plant


class _WrongGradient(torch.autograd.Function):
    """The identity, with another gradient."""

    @staticmethod
    def forward(ctx, tensor, factor):
        ctx.factor = factor
        return tensor.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.factor, None


def wrong_gradient(position, query, key, value, mixing):
    inputs = [query, key, value, mixing]
    inputs[position] = _WrongGradient.apply(inputs[position], 1.01)
    return reference(*inputs)


def raising(*inputs):
    raise RuntimeError("no kernel image is available\nfor execution")


BROKEN = {
    "the output": lambda *inputs: reference(*inputs) * 1.01,
    "no numbers": lambda *inputs: reference(*inputs) * float("nan"),
    "the gradient of query": partial(wrong_gradient, 0),
    "of key": partial(wrong_gradient, 1),
    "of value": partial(wrong_gradient, 2),
    "of mixing": partial(wrong_gradient, 3),
    "no kernel image is available": raising,
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_backend_is_never_taken(plant, monkeypatch, fault):
    """However fast: one per cent in one gradient is enough, and the verdict says which."""
    plant(BROKEN[fault])
    monkeypatch.setattr(calibrating, "_seconds", lambda work, device: 1.0)
    verdict = calibrate(SMALL, CPU)
    assert verdict.backend != "planted"
    assert "planted" not in verdict.seconds
    assert ("the output is off by nan" if fault == "no numbers" else fault) in verdict.refused["planted"]
    assert "\n" not in verdict.refused["planted"]


def test_a_right_one_that_is_faster_is_taken(plant, monkeypatch):
    """The other half: a planted backend is not refused for being planted."""
    plant(reference)
    times = iter([0.5, 1.0, 2.0, 3.0])
    monkeypatch.setattr(calibrating, "_seconds", lambda work, device: next(times))
    verdict = calibrate(SMALL, CPU)
    assert verdict.backend == "planted"
    assert verdict.seconds == {"planted": 0.5, "chunked": 1.0, "flash": 2.0, "reference": 3.0}
    assert not verdict.refused


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_real_ones_agree_in_every_dtype(dtype, monkeypatch):
    """What rounding explains is no disagreement; several rows at a time of the definition are the definition."""
    monkeypatch.setattr(calibrating, "JUDGED_BYTES", 5 * 3 * 12 * 4)
    verdict = calibrate(ShapeClass(dtype, 2, 3, 16, 12, 8), CPU)
    assert set(verdict.seconds) == {"chunked", "flash", "reference"}
    assert not verdict.refused


BOUNDS = {"float16": 4 * 2**-11, "bfloat16": 4 * 2**-8, "float32": 1e-4, "float64": 1e-9}


@pytest.mark.parametrize("dtype", BOUNDS)
def test_what_rounding_explains_and_what_it_does_not(plant, monkeypatch, dtype):
    """The line between the two, in every dtype, from a tenth below to a tenth above."""
    monkeypatch.setattr(calibrating, "_seconds", lambda work, device: 1.0)
    plant(lambda *inputs: reference(*inputs) * (1 + 0.9 * BOUNDS[dtype]), "within")
    plant(lambda *inputs: reference(*inputs) * (1 + 1.1 * BOUNDS[dtype]), "beyond")
    verdict = calibrate(replace(SMALL, dtype=dtype), CPU)
    assert list(verdict.refused) == ["beyond"]


def test_the_definition_is_tried_up_to_a_size(draw, monkeypatch):
    """One map more and its copies would take the memory of a training."""
    inputs, _ = draw(batch=1, heads=3, queries=16, keys=12, head_dim=8, dtype=torch.float32)
    maps = 3 * 16 * 12
    for limit, names in ((maps * 4, {"chunked", "flash", "reference"}), (maps * 4 - 1, {"chunked", "flash"})):
        monkeypatch.setattr(calibrating, "REFERENCE_BYTES", limit)
        assert set(calibrating.candidates(SMALL, inputs[0])) == names


def test_nothing_of_the_caller_is_touched_or_in_force(plant):
    """Autocast, no_grad, a mode, and the random state that the training goes on with."""
    seen = []

    def backend(*inputs):
        seen.append(
            (torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), torch.is_inference_mode_enabled())
        )
        return reference(*inputs)

    plant(backend)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert not calibrate(SMALL, CPU).refused
    assert set(seen) == {(True, False, False)}
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.usefixtures("as_on_a_card")
def test_a_class_is_measured_once_and_kept(draw, monkeypatch):
    """The second process reads the file; a planted verdict in it shows that it is believed."""
    measured = []
    monkeypatch.setattr(
        choice, "calibrate", lambda of, device: measured.append(of.name) or Verdict("flash", {"flash": 1.0})
    )
    inputs, _ = draw(batch=3, queries=200, keys=77, head_dim=8, dtype=torch.float32)
    mixed_attention(*inputs)
    monkeypatch.setattr(choice, "_chosen", {})  # as in another process
    mixed_attention(*inputs)
    assert measured == ["float32 4x4x256x77x8"]
    [known] = CalibrationFile.here().read(CPU).values()
    assert known == Verdict("flash", {"flash": 1.0})


@pytest.mark.usefixtures("as_on_a_card")
@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"flash"', '"planted"'),
        lambda text: text.replace("torch ", "torch 0"),
        lambda text: "[]",
    ],
    ids=["half a file", "an unknown backend", "other versions", "no table"],
)
def test_a_file_that_cannot_be_believed_is_measured_again(draw, monkeypatch, damage):
    """Whatever lies in the cache: it can all be made again, and is never a reason to stop."""
    file = CalibrationFile.here()
    file.add(CPU, "float32 2x4x63x77x32", Verdict("flash"))
    file.path.write_text(damage(file.path.read_text()))
    monkeypatch.setattr(choice, "calibrate", lambda of, device: Verdict("reference"))
    inputs, _ = draw(dtype=torch.float32)
    mixed_attention(*inputs)
    assert file.read(CPU)["float32 2x4x63x77x32"].backend == "reference"


@pytest.mark.usefixtures("as_on_a_card")
def test_threads_measure_once(draw, monkeypatch):
    """All that meet a class at once wait for one of them."""
    measured = []

    def slowly(of, device):
        measured.append(of)
        threading.Event().wait(0.2)
        return Verdict("chunked")

    monkeypatch.setattr(choice, "calibrate", slowly)
    inputs, _ = draw(queries=9, keys=7, head_dim=4, dtype=torch.float32)
    results = []
    threads = [threading.Thread(target=lambda: results.append(mixed_attention(*inputs))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(measured) == 1
    assert len(results) == 6


def test_processes_do_not_lose_what_others_measured():
    """Several write into one file at once."""
    script = (
        "import sys, torch\n"
        "from coeffdream.attention.calibrate import Verdict\n"
        "from coeffdream.attention.calibrations import CalibrationFile\n"
        "file = CalibrationFile.here()\n"
        "for number in range(5):\n"
        "    with file.held():\n"
        "        file.add(torch.device('cpu'), f'{sys.argv[1]} {number}', Verdict('flash'))\n"
    )
    started = [subprocess.Popen([sys.executable, "-c", script, name], env=os.environ) for name in "ab"]
    assert [process.wait() for process in started] == [0, 0]
    assert len(CalibrationFile.here().read(CPU)) == 10


@pytest.mark.parametrize("folder", ["there", "not/there"])
def test_one_process_at_a_time(monkeypatch, tmp_path, folder):
    """Also the first of all, before there is a cache."""
    (tmp_path / "there").mkdir()
    monkeypatch.setenv("COEFFDREAM_CACHE", str(tmp_path / folder))
    file = CalibrationFile.here()
    with file.held(), pytest.raises(Timeout):
        FileLock(file.path.with_suffix(".lock"), timeout=0).acquire()


def test_each_card_has_measurements_of_its_own(monkeypatch):
    """What is fastest on one may be slow, or wrong, on another of the same machine or home folder."""
    cuda = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "one card")
    CalibrationFile.here().add(cuda, SMALL.name, Verdict("triton"))
    assert CalibrationFile.here().read(cuda) == {SMALL.name: Verdict("triton")}
    assert not CalibrationFile.here().read(CPU)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "another card")
    assert not CalibrationFile.here().read(cuda)


@pytest.mark.usefixtures("as_on_a_card")
def test_one_that_disagrees_is_named_once(plant, draw, caplog):
    """In one line that says what, where and by how much."""
    plant(BROKEN["of key"], "flash2")
    inputs, _ = draw(queries=16, keys=12, head_dim=8, dtype=torch.float32)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            mixed_attention(*inputs)
            choice._chosen.clear()
    [line] = [record.getMessage() for record in caplog.records]
    assert "'flash2' is not used for float32 2x4x16x12x8 on cpu: of key is off by 0.01" in line


@pytest.mark.usefixtures("as_on_a_card")
def test_a_folder_that_cannot_be_written_is_no_reason_to_stop(draw, monkeypatch, tmp_path):
    """Then each process measures for itself."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COEFFDREAM_CACHE", str(tmp_path / "file" / "inside"))
    inputs, _ = draw(queries=16, keys=12, head_dim=8, dtype=torch.float32)
    mixed_attention(*inputs)


def test_on_a_cpu_nothing_is_measured(draw, monkeypatch):
    """Equal runs are equal to the last bit there, whatever else the machine does."""
    monkeypatch.setattr(choice, "calibrate", lambda *_: pytest.fail("measured"))
    inputs, _ = draw(dtype=torch.float32)
    mixed_attention(*inputs)
    assert not CalibrationFile.here().path.exists()


def test_the_environment_forces_one(draw, monkeypatch):
    """And a name that there is not is one line, a user's mistake."""
    inputs, _ = draw(dtype=torch.float32)
    taken = {}
    monkeypatch.setenv(choice.FORCED, "flash")
    with choice.remembered(taken):
        mixed_attention(*inputs)
    assert taken == {"cpu, float32 2x4x63x77x32": "flash"}
    monkeypatch.setenv(choice.FORCED, "flesh")
    with pytest.raises(
        AttentionError, match="COEFFDREAM_ATTENTION='flesh': there are auto, reference"
    ) as caught:
        mixed_attention(*inputs)
    assert isinstance(caught.value, UserError)


def test_a_run_is_told_what_was_chosen_before_it(draw):
    """A call that this process has made already is not missing from the run's record."""
    inputs, _ = draw(dtype=torch.float32)
    mixed_attention(*inputs)
    taken = {}
    with choice.remembered(taken):
        mixed_attention(*inputs)
    assert taken == {"cpu, float32 2x4x63x77x32": "reference"}


def test_a_run_goes_on_with_what_it_began_with(draw, monkeypatch):
    """Also against the environment and a newer measurement; afterwards they count again."""
    inputs, _ = draw(dtype=torch.float32)
    monkeypatch.setenv(choice.FORCED, "flash")
    began = {"cpu, float32 2x4x63x77x32": "chunked"}
    with choice.remembered(began):
        mixed_attention(*inputs)
    assert began == {"cpu, float32 2x4x63x77x32": "chunked"}
    assert choice.choose(inputs[0], inputs[1], None) == "flash"
    later = {}
    with choice.remembered(later):
        mixed_attention(*inputs)
    assert list(later.values()) == ["flash"]
