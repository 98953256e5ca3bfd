"""What `eval` may be asked for."""

from __future__ import annotations

import pytest

from coeffdream.errors import ConfigError
from coeffdream.metrics.options import ScoringOptions


def test_a_batch_holds_at_least_one_picture():
    """One is allowed, none is a mistake that is named by its flag."""
    ScoringOptions(batch_size=1).check()
    with pytest.raises(ConfigError, match="--batch-size 0 must be at least 1"):
        ScoringOptions(batch_size=0).check()
