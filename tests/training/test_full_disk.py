"""The disk fills up in training: one line that names the file, and everything that was kept stays whole."""

from __future__ import annotations

import errno
import os

import pytest

from coeffdream.records.checkpoints import list_checkpoints
from coeffdream.records.files import read_json
from coeffdream.training import run as training
from coeffdream.training.checkpoint import restore_checkpoint


@pytest.mark.parametrize("writes", [1, 3, 6, 9, 12, 15, 18, 21, 24, 27])
def test_full_after_so_many_writes(writes, options, session, go_on, tmp_path, monkeypatch):
    """Whatever is being written: no half file, no checkpoint that only looks like one, and --resume goes on."""
    config = options(steps=3, checkpoint_every=1)
    ready = session(config)
    run = training.RunFolder(tmp_path / "runs" / "full")
    fsync, done = os.fsync, []

    def full(handle: int) -> None:
        done.append(handle)
        if len(done) > writes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left") as caught:
            training.execute(ready, run, ready.record("full", "training"))
    assert str(run.path) in str(caught.value.filename)
    assert not [path for path in run.path.rglob(".*") if path.is_file()]
    for checkpoint in list_checkpoints(run.checkpoints):
        restore_checkpoint(checkpoint, ready.state, ready.components.architecture)
    if run.record_file.exists():
        assert read_json(run.record_file)["status"] == "training"
        assert go_on(run, config)
        assert run.read().status == "complete"
