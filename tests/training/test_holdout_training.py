"""Held-out photos are not trained on, and run.json says which they are."""

from __future__ import annotations

import json

import pytest

from coeffdream.errors import ConfigError


def test_held_out_photos_are_never_seen(options, learn, go_on):
    """Protects the promise of --holdout in the log, in run.json and on --resume."""
    run = learn(options(steps=4, holdout=1, batch_size=2, seed=1))
    record = run.read()
    seen = {name for line in run.log.read_text().splitlines() for name in json.loads(line)["photos"]}
    assert seen == {photo.file for photo in record.concept.learned}
    assert len(record.concept.held_out) == 1
    assert len(record.concept.images) == 3
    with pytest.raises(ConfigError, match="--holdout was 1 and is now 0"):
        go_on(run, options(steps=5, batch_size=2, seed=1))
    assert go_on(run, options(steps=5, holdout=1, batch_size=2, seed=1))
    assert run.read().concept == record.concept
