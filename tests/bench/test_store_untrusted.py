"""What comes down from an address is a file of somebody else's: nothing of it is believed."""

from __future__ import annotations

import json

import pytest

from coeffdream.bench.store import Store
from coeffdream.errors import RunError


@pytest.fixture
def sent(study, stages, through, address, tmp_path):
    """A store with a finished cell: its name, and its folder there."""
    through(study, tmp_path / "one", address, stages.perform, most=1)
    return study.cells[0].name, tmp_path / "bucket"


def test_an_altered_file(sent, address, tmp_path):
    """Named, with what to do; nothing of the cell is put in its place."""
    cell, bucket = sent
    (bucket / "runs" / cell / "adapter" / "weights.safetensors").write_text("other")
    with pytest.raises(
        RunError, match=r"weights.safetensors is not what was sent .* remove .*/contents/cat-"
    ):
        Store(address, tmp_path / "two").bring(cell)
    assert not [path for path in (tmp_path / "two").rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["../../escaped", "/etc/escaped", "a/.lock", "a\\..\\b", "c:escaped", ""])
def test_a_path_that_leads_elsewhere(name, sent, address, tmp_path):
    cell, bucket = sent
    file = bucket / "contents" / f"{cell}.json"
    value = json.loads(file.read_text())
    value["files"][0]["name"] = name
    file.write_text(json.dumps(value))
    with pytest.raises(RunError, match="leads out of its folder"):
        Store(address, tmp_path / "two").bring(cell)


def test_half_a_list(sent, address, tmp_path):
    cell, bucket = sent
    file = bucket / "contents" / f"{cell}.json"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(RunError, match=rf"contents/{cell}.json: .*expected object"):
        Store(address, tmp_path / "two").bring(cell)
