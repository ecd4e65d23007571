"""Fixtures of several folders: digits and a network trained on them, once a session."""

from __future__ import annotations

import pytest
import torch
from robust_models import Digits, trained
from sklearn.datasets import load_digits

from hwsim.ebm.hopfield import LayeredHopfield

ATTACKED = 100


@pytest.fixture(scope="session")
def digits() -> Digits:
    data = load_digits()
    order = torch.randperm(len(data.data), generator=torch.Generator().manual_seed(0))
    x = torch.tensor(data.data / 16, dtype=torch.float32)[order].reshape(-1, 1, 8, 8)
    y = torch.tensor(data.target)[order]
    return Digits(x[:1437], y[:1437], x[1437 : 1437 + ATTACKED], y[1437 : 1437 + ATTACKED])


@pytest.fixture(scope="session")
def net(digits: Digits) -> LayeredHopfield:
    return trained(digits, "linear")
