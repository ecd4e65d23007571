"""The two ways a job ends badly: the user's mistake (exit code 2) and work that failed (exit code 1)."""

from __future__ import annotations


class InputError(ValueError):
    """Something the user gave cannot be used; the message says where, what was found, what is expected."""


class WorkError(RuntimeError):
    """Work that was asked for correctly and failed (a full disk, a diverged training); nothing finished is lost."""
