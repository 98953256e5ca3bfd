"""What lives is counted, by shapes or by values."""

from __future__ import annotations

import torch

from coeffdream.backbones.live_bytes import LiveBytes


def test_live_bytes_sees_what_lives():
    """A tensor counts while it lives, a view counts nothing, and what was there before is not its business."""
    before = torch.ones(1000)
    with LiveBytes([before]) as counted:
        made = before * 2
        view = made.view(10, 100)
        assert counted.live == 4000
        assert before.view(10, 100).shape == view.shape
        assert counted.live == 4000
        del made, view
        assert counted.live == 0
    assert counted.peak == 4000
