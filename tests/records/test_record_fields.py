"""Records to JSON and back: whatever is missing, unknown or misplaced, however deep, is named by its path."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from coeffdream.config import TrainConfig
from coeffdream.errors import RunError
from coeffdream.records.base import BaseRecord
from coeffdream.records.concept import ConceptRecord, PhotoRecord
from coeffdream.records.environment import Machine
from coeffdream.records.fields import record_from_json, record_to_json
from coeffdream.records.images import ImageRecord, SetRecord, SetSettings
from coeffdream.records.run import Parameters, RunFolder, RunRecord

WHERE = Path("runs/cat/run.json")
BASE = BaseRecord("toybox", "toybox", "embedded", "a" * 64, [0.5, -0.25])
SETTINGS = SetSettings(BASE, {"lora": "b" * 64}, 1.0, 1.0, "sks", 0, 20, 3.0, "", 64, "Euler", "float32")
PHOTO = PhotoRecord("00.png", "c" * 64, 48, 32, "a photo of <V> cat")
RUN = RunRecord(
    "cat",
    "complete",
    "2026-01-01",
    "lora",
    TrainConfig(concept="cat", base="toybox", steps=2),
    BASE,
    "cat",
    "sks",
    ConceptRecord("cat", "/photos/cat", "cat", "--class", True, [PHOTO]),
    Parameters(trained=7, percent=0.5),
    {"torch": "2"},
    Machine("Linux", cores=2),
)
RECORDS = [
    RUN,
    ImageRecord(0, 0, 0, "a <V> CLASS", "a <V> cat", "a sks cat", 7, "00_00.png", "0" * 64),
    SetRecord("live", "benchmark", "2026-01-01", "live", ["a <V> CLASS"], "cat", 4, SETTINGS),
]


def changed(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    """A JSON value with another at the end of a path; ... takes it away."""
    value = json.loads(json.dumps(value))
    inner = value
    for step in path[:-1]:
        inner = inner[step]
    if new is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = new
    return value


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_survives_json(record):
    """What a stage wrote is what the next one reads."""
    value = json.loads(json.dumps(record_to_json(record)))
    assert record_from_json(type(record), value, WHERE) == record


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_unknown_fields_are_named(record):
    """A key of another version, or a misspelled one, must not vanish."""
    value = record_to_json(record) | {"sha3": "", "colour": 1}
    with pytest.raises(RunError) as caught:
        record_from_json(type(record), value, WHERE)
    assert str(caught.value).startswith(f"{WHERE} has unknown sha3")
    assert "colour" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_fields_with_a_default_may_be_absent():
    """A record can grow without making old files unreadable."""
    value = record_to_json(RUN)
    del value["machine"], value["versions"], value["config"]["min_snr"]
    record = record_from_json(RunRecord, value, WHERE)
    assert (record.machine, record.config) == (Machine(), RUN.config)


@pytest.mark.parametrize("value", [[], "text", 3, None, True])
def test_what_is_no_object_is_refused(value):
    """Valid JSON of the wrong kind is damage too."""
    with pytest.raises(RunError, match=r"run\.json: .*expected object, got "):
        record_from_json(RunRecord, value, WHERE)


@pytest.mark.parametrize(
    ("path", "new", "says"),
    [
        (("name",), ..., "lacks name"),
        (("name",), "", "name is '': expected str of length >= 1"),
        (("status",), "finished", "status is 'finished'"),
        (("token",), "", "token is ''"),
        (("steps_done",), -1, "steps_done is -1: expected int >= 0"),
        (("steps_done",), True, "steps_done is True: expected int, got bool"),
        (("format",), None, "has format None and this coeffdream reads format 1"),
        (("base",), {}, "base lacks name"),
        (("base", "name"), 5, "base.name is 5: expected str, got int"),
        (("base", "sketch", 1), "x", "base.sketch[1] is 'x': expected float, got str"),
        (("config",), [], "config: expected object, got array"),
        (("config", "steps"), "two", "config.steps is 'two': expected int, got str"),
        (("config", "stepps"), 2, "has unknown config.stepps (did you mean steps?)"),
        (("config", "parametrisation"), "direct", "config.parametrisation is 'direct'"),
        (("concept",), 3, "concept is 3: expected object"),
        (("concept", "folder"), ..., "concept lacks folder"),
        (("concept", "images", 0, "width"), 0, "concept.images[0].width is 0: expected int >= 1"),
        (("concept", "images", 0, "sha"), "", "has unknown concept.images[0].sha"),
        (("parameters", "trained"), 1.5, "parameters.trained is 1.5: expected int, got float"),
        (("versions", "torch"), 2, "versions[...]: expected str, got int"),
        (("machine", "cores"), "many", "machine.cores is 'many'"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(path, new, says):
    """A record edited by hand, or by another program: one line with the file, the path and the value."""
    with pytest.raises(RunError) as caught:
        record_from_json(RunRecord, changed(record_to_json(RUN), path, new), WHERE)
    message = str(caught.value)
    assert says in message
    assert str(WHERE) in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("path", "new", "says"),
    [
        (("config",), {}, "config lacks base; config lacks concept"),
        (("config", "lr"), ..., "config lacks lr"),
        (("config", "lr"), -1.0, "config --lr -1.0 must be a positive number"),
        (("base", "architecture"), ..., "base lacks architecture"),
        (("parameters",), ..., "parameters lacks trained"),
    ],
)
def test_what_every_run_says_of_itself(path, new, says, tmp_path):
    """A default in its place would be another run; values that make no run are told as those of `train` are."""
    folder = RunFolder(tmp_path)
    folder.record_file.write_text(json.dumps(changed(record_to_json(RUN), path, new)))
    with pytest.raises(RunError) as caught:
        folder.read()
    assert f"run.json: {says}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_that_trained_nothing_says_less(tmp_path):
    """Of the untouched base there is neither a method nor a count."""
    folder = RunFolder(tmp_path)
    value = record_to_json(RUN) | {"status": "base", "config": {"base": "toybox"}, "parameters": {}}
    value["base"] = {"name": "toybox", "kind": "toybox", "source": "embedded"}
    folder.record_file.write_text(json.dumps(value))
    assert folder.read().base == dataclasses.replace(BASE, architecture=None, sketch=[])
