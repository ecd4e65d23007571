"""What all cards have in common: strict, frozen, no unknown keys."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Solvers = Literal["synchronous", "odd-even", "up-down", "anderson", "newton", "error-sweeps"]


class Card(BaseModel):
    """A part of a card. Values are taken as they are written, nothing is converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
