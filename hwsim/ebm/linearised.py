"""A layered network's energy as the quadratic that it is near a state, on the units that are free to move.

    E(s + v) = E(s) - <F(s), v> + <v, H v> / 2,    H = D - A

with F the force, D each block's own curvature (2c, and a nudge's stiffness on the output) and A what the links couple:
(A v)_l = W_{l-1} v_{l-1} + W_l^T v_{l+1}, through the max-pooling's switches as they are. Units at a bound that the
force holds there do not move: only rows and columns of the other units count. All is written as reads of the arrays,
one forward and one back for each link that couples two blocks; no graph is recorded and no matrix is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from hwsim.ebm.energy import Bound, Nudged, Relaxable, State
from hwsim.ebm.hopfield import GivenInput
from hwsim.ebm.links import Link
from hwsim.errors import InputError

Blocks = dict[int, Tensor]
"""Some blocks of a state, by number; what is absent is zero."""


@dataclass(frozen=True)
class Linearised:
    """H of one batch of examples, on their free units; linear in v example by example.

    Attributes:
        links: those that couple two blocks, link l between block l and l + 1.
        switches: one a link, None where it does not pool by maximum.
        free: one mask a block, the shape of the block; 1 where a unit is free to move, 0 elsewhere.
        own: each block's own curvature D.
    """

    links: tuple[Link, ...]
    switches: tuple[Tensor | None, ...]
    free: State
    own: tuple[float, ...]

    @classmethod
    def at(cls, energy: Relaxable, s: State) -> Linearised:
        """What ``energy`` looks like at ``s``. Raises InputError for an energy that has no such form."""
        nudged = energy if isinstance(energy, Nudged) else None
        given = nudged.energy if nudged else energy
        stiffness = nudged.own_stiffness if nudged else 0.0
        if not isinstance(given, GivenInput) or stiffness is None:
            raise InputError("linearised energy: expected a network given its input, or its nudge by a quadratic cost")
        links = given.net.links[1 : given.blocks]
        below = zip(links, s, strict=False)
        switches = tuple(link.read(layer).switches if link.switched else None for link, layer in below)
        free = tuple(free_units(layer, *given.bounds(block)) for block, layer in enumerate(s))
        own = [2 * given.net.c] * given.blocks
        own[-1] += stiffness
        return cls(links, switches, free, tuple(own))

    @property
    def blocks(self) -> int:
        return len(self.free)

    def couple(self, v: Blocks, into: Sequence[int]) -> Blocks:
        """A v in the blocks ``into``, zero at units that are not free; v is zero there, too."""
        total: Blocks = {}
        for block in into:
            parts = []
            if block - 1 in v:
                parts.append(self.links[block - 1].along(v[block - 1], self.switches[block - 1]))
            if block + 1 in v:
                parts.append(self.links[block].backward(v[block + 1], self.switches[block]))
            if parts:
                total[block] = (parts[0] if len(parts) == 1 else parts[0] + parts[1]) * self.free[block]
        return total

    @property
    def halves(self) -> tuple[range, range]:
        """Every second block and the others, the half of fewer units first; no two of a half are coupled."""
        halves = [range(parity, self.blocks, 2) for parity in (0, 1)]
        few, many = sorted(halves, key=lambda half: sum(self.free[i][0].numel() for i in half))
        return (few, many) if self.blocks > 1 else (range(1), range(0))


def free_units(layer: Tensor, low: Bound, high: Bound) -> Tensor:
    """1 where a unit is within its bounds, 0 where it is at one."""
    return ((layer > low) & (layer < high)).to(layer.dtype)
