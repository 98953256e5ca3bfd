"""Small models on the CPU take one thread, large ones and those who asked otherwise do not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from coeffdream.backbones import threads


@pytest.fixture
def many_threads(monkeypatch):
    """Three threads, and an environment that says nothing of them."""
    for name in threads.CHOSEN_BY_HAND:
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("many_threads")
class TestSettle:
    def test_a_small_unet_takes_one(self):
        """Beside other work, threads that wait for one another cost more than they bring."""
        threads.settle_threads(nn.Linear(2, 2))
        assert torch.get_num_threads() == 1

    def test_a_large_one_takes_all(self, monkeypatch):
        """SDXL's layers keep every core busy."""
        monkeypatch.setattr(threads, "SMALL", 6)
        threads.settle_threads(nn.Linear(2, 2))
        assert torch.get_num_threads() == 3

    @pytest.mark.parametrize("name", threads.CHOSEN_BY_HAND)
    def test_what_a_person_set_wins(self, monkeypatch, name):
        """Whoever names a number knows the machine."""
        monkeypatch.setenv(name, "3")
        threads.settle_threads(nn.Linear(2, 2))
        assert torch.get_num_threads() == 3
