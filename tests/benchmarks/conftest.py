"""Digits and a network trained on them, once a session."""

from robust_fixtures import digits, net

__all__ = ["digits", "net"]
