"""Digits and networks trained on them, once a session."""

from __future__ import annotations

import pytest
from robust_fixtures import digits, net
from robust_models import Digits, face, trained

from hwsim.ebm.hopfield import LayeredHopfield
from hwsim.robustness.classifier import EquilibriumClassifier

__all__ = ["clamped_net", "digits", "model", "net"]


@pytest.fixture(scope="session")
def clamped_net(digits: Digits) -> LayeredHopfield:
    return trained(digits, "clamped")


@pytest.fixture
def model(net: LayeredHopfield) -> EquilibriumClassifier:
    return face(net)
