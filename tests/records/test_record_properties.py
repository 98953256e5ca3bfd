"""Whole records and configs, generated from their own types, and records in which one value was changed.

What was written is what is read, and what somebody changed is either there afterwards or refused in one line.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as some

from coeffdream.config import TrainConfig
from coeffdream.errors import ConfigError, RunError
from coeffdream.records.fields import record_from_json, record_to_json
from coeffdream.records.files import parse_json, read_json, read_jsonl
from coeffdream.records.images import ImageRecord, SetRecord
from coeffdream.records.run import RunRecord
from coeffdream.records.scores import ScoresRecord
from coeffdream.records.study_plan import Study
from coeffdream.resolve import resolve

OLD = Path(__file__).parent / "written_by_0.1.0"
KINDS = [RunRecord, SetRecord, ImageRecord, ScoresRecord, Study]
WRITTEN = [
    (RunRecord, "run.json"),
    (RunRecord, "base_run.json"),
    (SetRecord, "set.json"),
    (ScoresRecord, "scores.json"),
    (ScoresRecord, "folder_scores.json"),
    (Study, "study.json"),
]
TEXT = some.text(some.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
NUMBER = some.integers(0, 2**53) | some.integers(-(10**9), 10**9)
FINITE = some.floats(allow_nan=False, allow_infinity=False)
# To shrink records of a hundred fields takes minutes, and shows no more than the first that fails.
LARGE = settings(
    max_examples=25,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.data_too_large, HealthCheck.too_slow, HealthCheck.large_base_example],
)
# What stands in a JSON file where somebody's editor, script or disk put it.
JSON = some.recursive(
    some.none() | some.booleans() | NUMBER | FINITE | TEXT,
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(TEXT, inner, max_size=3),
    max_leaves=4,
)


def of_type(hint: Any) -> some.SearchStrategy[Any]:
    """Values of a record's field, by its type."""
    kind, inner = get_origin(hint), get_args(hint)
    if kind is Annotated:
        least = inner[1].ge if inner[1].ge is not None else inner[1].min_length
        return some.integers(least, 2**40) if inner[0] is int else TEXT.filter(len)
    if kind is Literal:
        return some.sampled_from([each for part in inner for each in (get_args(part) or (part,))])
    if kind is list:
        return some.lists(of_type(inner[0]), max_size=2)
    if kind is dict:
        return some.dictionaries(TEXT, of_type(inner[1]), max_size=2)
    if dataclasses.is_dataclass(hint):
        return some.deferred(lambda: record_of(hint))
    if kind is Union or inner:
        return some.one_of([of_type(each) for each in inner])
    return {str: TEXT, int: NUMBER, float: FINITE, bool: some.booleans(), type(None): some.none()}[hint]


def record_of(kind: Any) -> some.SearchStrategy[Any]:
    """Whole records; of a file's name only what may be one, and of the format only that which is read."""
    hints = get_type_hints(kind, include_extras=True)
    fields = {name: of_type(hint) for name, hint in hints.items() if name != "format"}
    if kind is ImageRecord:
        fields["file"] = some.from_regex(r"[a-z0-9_]{1,9}\.png", fullmatch=True)
    return some.builds(kind, **fields)


def paths(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where every value of a JSON document lies."""
    steps: Any = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    return [each for step, inner in steps for each in [(*here, step), *paths(inner, (*here, step))]]


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


def holds(found: Any, given: Any) -> bool:
    """Equal, where a record may hold more keys, and a whole number stays itself as a float, but is no bool."""
    if isinstance(given, dict):
        return isinstance(found, dict) and all(
            key in found and holds(found[key], each) for key, each in given.items()
        )
    if isinstance(given, list):
        return isinstance(found, (list, tuple)) and len(found) == len(given) and all(map(holds, found, given))
    return bool(found == given) and isinstance(found, bool) == isinstance(given, bool)


def or_refused(action: Any, *given: Any) -> tuple[Any, str]:
    """What came of it, or the one line that refused it."""
    try:
        return action(*given), ""
    except (RunError, ConfigError) as error:
        return None, str(error)


@pytest.mark.parametrize("kind", KINDS)
@LARGE
@given(data=some.data())
def test_what_was_written_is_what_is_read(kind, data):
    """Any record at all, through the bytes of a file."""
    record = data.draw(record_of(kind))
    content = json.dumps(record_to_json(record))
    assert record_from_json(kind, parse_json(content), "a record") == record


@pytest.mark.parametrize(("kind", "file"), WRITTEN)
@given(data=some.data())
def test_a_changed_value_is_kept_or_refused(kind, file, data):
    """Nothing is taken for another thing without a word, and no change ends in anything but one line."""
    value = read_json(OLD / file)
    path = data.draw(some.sampled_from(paths(value)))
    new = data.draw(JSON)
    at(value, path[:-1])[path[-1]] = new
    record, refused = or_refused(record_from_json, kind, value, file)
    if refused:
        assert refused.startswith(file)
        assert "\n" not in refused
        assert len(refused) < 600
        return
    assert holds(at(record_to_json(record), path), new)


@given(data=some.data())
def test_a_changed_row_of_a_manifest(data):
    """The same of images.jsonl."""
    value = read_jsonl(OLD / "images.jsonl")[0]
    name, new = data.draw(some.sampled_from(sorted(value))), data.draw(JSON)
    record, refused = or_refused(record_from_json, ImageRecord, value | {name: new}, "images.jsonl")
    assert "\n" not in refused
    assert refused or holds(record_to_json(record)[name], new)


OPTIONS = [each.name for each in dataclasses.fields(TrainConfig)]


@given(
    file=some.dictionaries(some.sampled_from([*OPTIONS, "class", "coeff-lr"]) | TEXT, JSON, max_size=5),
    typed=some.dictionaries(some.sampled_from(OPTIONS), JSON, max_size=3),
)
def test_whatever_a_config_file_sets(file, typed):
    """Every value is in force as it was given, or is refused by the name of its option."""
    resolved, refused = or_refused(resolve, typed, file)
    if refused:
        assert refused.startswith("these options make no run")
        return
    for name, value in {**file, **typed}.items():
        field = "class_noun" if name == "class" else name.replace("-", "_")
        if name in typed or field not in typed:
            assert holds(getattr(resolved.config, field), value)


@given(data=some.data())
def test_whatever_is_sound_is_accepted(data):
    """Options inside their bounds make a run: refusing is no answer to everything."""
    sound = {
        "rank": some.integers(1, 64),
        "steps": some.integers(1, 10_000),
        "lr": some.floats(1e-8, 1.0),
        "coeff_dropout": some.floats(0, 0.99),
        "resolution": some.integers(2, 256).map(lambda n: 8 * n),
        "seed": some.integers(0, 2**31),
        "method": some.sampled_from(["lora", "dora", "coeff", "coeff-lora", "coeff-dora"]),
        "prior": some.booleans(),
    }
    chosen = data.draw(some.fixed_dictionaries({}, optional=sound))
    assert {name: getattr(resolve({}, chosen).config, name) for name in chosen} == chosen
