"""What cannot be the address of a store is told in a line, before anything begins."""

from __future__ import annotations

import pytest

from coeffdream.bench.address import address_of
from coeffdream.bench.carried import carried
from coeffdream.bench.store import Store
from coeffdream.errors import ConfigError


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            "nowhere://bucket/study",
            "--store nowhere://bucket/study: fsspec knows no nowhere:// addresses",
        ),
        ("sftp://me:secret@host/study", "leave passwords and keys out of the address"),
        ("s3://bucket/study?key=secret", "leave passwords and keys out of the address"),
        ("memory://study", "there for one process alone"),
        ("simplecache::s3://key:secret@bucket", "goes by way of a second place"),
        ("study", "folders apart"),
        ("study/store", "folders apart"),
        (".", "folders apart"),
    ],
)
def test_refused(given, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=says) as caught:
        address_of(given, tmp_path / "study")
    assert "secret" not in str(caught.value)


def test_a_package_that_is_not_installed(tmp_path, monkeypatch):
    """fsspec's own words for which one it is."""
    from fsspec.registry import known_implementations

    missing = {"class": "no_such_package.System", "err": "Install no_such_package to access far://"}
    monkeypatch.setitem(known_implementations, "far", missing)
    with pytest.raises(ConfigError, match=r"--store far://b/s: Install no_such_package.*on every machine"):
        address_of("far://b/s", tmp_path)


def test_a_machine_of_a_cluster_without_it(tmp_path, monkeypatch, capsys):
    """The command fails with that line, and is not begun."""
    from fsspec.registry import known_implementations

    missing = {"class": "no_such_package.System", "err": "Install no_such_package to access far://"}
    monkeypatch.setitem(known_implementations, "far", missing)
    (log := tmp_path / "log").touch()
    store, ran = Store("far://b/s", tmp_path), []
    assert carried(store, "cat-lora-seed0", ["train"], log, lambda: ran.append(1) or 0) == 2
    assert not ran
    assert "error: --store far://b/s: Install no_such_package" in capsys.readouterr().err


def test_a_folder(tmp_path, monkeypatch):
    """Is the same one for every process, wherever it works."""
    monkeypatch.chdir(tmp_path)
    for given in ("my store", f"file://{tmp_path}/my store"):
        found = address_of(given, tmp_path / "study")
        assert found == f"file://{tmp_path}/my store"
        Store(found, tmp_path / "study").write("a/b", b"1")
    assert (tmp_path / "my store" / "a" / "b").read_bytes() == b"1"
