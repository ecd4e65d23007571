"""The record of an epoch, as a run and a training keep it."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Literal

from hwsim.jobs.records import Record
from hwsim.learning.train import Epoch


@dataclass(frozen=True, kw_only=True)
class EpochRecord(Record, Epoch):
    """An epoch of one training; what was measured on validation images is None where there are none.

    Attributes:
        case, repeat: which of a job's trainings.
        energy: mean energy at the end of inference, of a network's first validation images.
        settle_steps: mean steps until it; None where none of them settled.
    """

    kind: Literal["training"] = "training"
    case: str
    repeat: int
    accuracy_validation: float | None = None
    unsettled_validation: float | None = None
    energy: float | None = None
    settle_steps: float | None = None

    @property
    def key(self) -> tuple[Hashable, ...]:
        return self.kind, self.case, self.repeat, self.epoch

    @classmethod
    def of(cls, epoch: Epoch, seconds: float, **values: Any) -> EpochRecord:
        """An epoch with what else is known of it."""
        return cls(**vars(epoch), seconds=seconds, **values)
