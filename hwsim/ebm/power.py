"""What a settled circuit draws, from its own voltages and currents."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Power(NamedTuple):
    """Static power of each example in watts, (B,): the sum of current times voltage over the elements of each kind.

    Attributes:
        conductances_W, diodes_W: what they turn into heat; an ideal diode takes none.
        sources_W: what the sources of inputs and biases give.
        amplifiers_W: what the amplifiers give at their outputs less what they draw at their inputs.
    """

    conductances_W: Tensor
    diodes_W: Tensor
    sources_W: Tensor
    amplifiers_W: Tensor

    @property
    def total_W(self) -> Tensor:
        """All that is taken; at rest it is all that is given."""
        return self.conductances_W + self.diodes_W
