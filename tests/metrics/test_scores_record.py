"""scores.json that is damaged or from another version."""

from __future__ import annotations

import json

import pytest

from coeffdream.errors import RunError
from coeffdream.metrics.evaluate import evaluate_run
from coeffdream.records.scores import read_scores


@pytest.fixture
def written(make, tiny_encoders, cache):
    run = make.run()
    make.set(run)
    evaluate_run(run, encoders=tiny_encoders, cache=cache)
    return run.scores


def change(path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_missing_file_names_itself(tmp_path):
    """compare on a run that was never scored."""
    with pytest.raises(RunError, match=r"scores\.json is missing"):
        read_scores(tmp_path / "scores.json")


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_damaged_files_are_refused(written, text):
    """Half a file is no scores."""
    written.write_text(text)
    with pytest.raises(RunError, match=r"scores\.json"):
        read_scores(written)


def test_another_format_is_refused_before_its_fields(written):
    """A later version may have other fields; the message names the format and not a field."""
    change(written, format=2, something_new=1)
    with pytest.raises(RunError, match="has format 2"):
        read_scores(written)


@pytest.mark.parametrize("part", ["overall", "ceiling"])
def test_parts_are_checked_field_by_field(written, part):
    """A misspelled key inside must not vanish."""
    value = json.loads(written.read_text())[part]
    value["texd_alignment"] = value.pop("text_alignment")
    change(written, **{part: value})
    with pytest.raises(RunError, match=rf"has unknown {part}\.texd_alignment \(did you mean text_alignment"):
        read_scores(written)


def test_rows_are_checked_field_by_field(written):
    """The same for a single picture's scores."""
    rows = json.loads(written.read_text())["per_image"]
    del rows[2]["nearest"]
    change(written, per_image=rows)
    with pytest.raises(RunError, match=r"per_image\[2\] lacks nearest"):
        read_scores(written)
