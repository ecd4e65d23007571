"""What the theory tests measure hwsim against: the energy written anew from its equation, and planted bugs.

Nothing here calls hwsim's energies, solvers or gradients. ``Plain`` is the energy of docs/concepts/energy.md
as one sum, differentiated by autograd and relaxed by its own loop; a ``Bug`` is one wrong line put in
the place of a right one, under which the very check that holds must fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from hwsim.crossbar.exact import FloatSynapse
from hwsim.ebm.hopfield import Dense, LayeredHopfield

DOUBLE = torch.float64


@dataclass(frozen=True)
class Bug:
    """``wrong`` takes the place of ``owner.attribute`` while the bug is planted."""

    name: str
    owner: type | ModuleType
    attribute: str
    wrong: Callable[..., Any]

    def __str__(self) -> str:
        return self.name

    @contextmanager
    def planted(self) -> Iterator[None]:
        right = self.owner.__dict__[self.attribute]
        setattr(self.owner, self.attribute, self.wrong)
        try:
            yield
        finally:
            setattr(self.owner, self.attribute, right)


GENERAL = Bug("no plan for dense networks", Dense, "matrices", property(lambda self: None))  # type: ignore[arg-type]


def must_reject(bug: Bug, check: Callable[..., None], *args: object) -> None:
    """The check that holds for the right code must fail with the bug planted.

    Bugs are planted in the code that every network runs on, so that exact dense ones have to take it as well.
    """
    check(*args)
    planned = isinstance(bug.owner, type) and bug.owner.__module__ == "hwsim.ebm.dense"
    with nullcontext() if planned else GENERAL.planted():
        check(*args)
        with bug.planted(), pytest.raises(AssertionError):
            check(*args)


@dataclass(frozen=True)
class Plain:
    """The energy by the book, on plain tensors.

    E = sum_l c |s_l|^2 - sum_l <s_{l+1}, W_l s_l + b_l>, hidden layers in [0, 1], the output free or in [0, 1].
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    c: float = 1.0
    clamped: bool = False

    @property
    def parameters(self) -> list[Tensor]:
        """Weights and biases (out, 1), a pair a layer."""
        return [p for w, b in zip(self.weights, self.biases, strict=True) for p in (w, b[:, None])]

    def with_parameters(self, parameters: Sequence[Tensor]) -> Plain:
        biases = tuple(p[:, 0] for p in parameters[1::2])
        return Plain(tuple(parameters[0::2]), biases, self.c, self.clamped)

    def energy(self, x: Tensor, s: Sequence[Tensor]) -> Tensor:
        total = torch.zeros(len(x), dtype=x.dtype)
        for w, b, below, layer in zip(self.weights, self.biases, (x, *s[:-1]), s, strict=True):
            total = total + self.c * torch.einsum("bi,bi->b", layer, layer)
            total = total - torch.einsum("bo,oi,bi->b", layer, w, below) - torch.einsum("bo,o->b", layer, b)
        return total

    def bounded(self, layer: int) -> bool:
        return self.clamped or layer < len(self.weights) - 1

    def sweep(self, x: Tensor, s: Sequence[Tensor]) -> list[Tensor]:
        """One synchronous step of the fixed-point equation."""
        new = []
        for index in range(len(self.weights)):
            drive = (x, *s)[index] @ self.weights[index].T + self.biases[index]
            if index + 1 < len(self.weights):
                drive = drive + s[index + 1] @ self.weights[index + 1]
            state = drive / (2 * self.c)
            new.append(state.clamp(0, 1) if self.bounded(index) else state)
        return new

    def zeros(self, x: Tensor) -> list[Tensor]:
        return [torch.zeros(len(x), len(b), dtype=x.dtype) for b in self.biases]

    def relax(self, x: Tensor, steps: int = 120) -> list[Tensor]:
        s = self.zeros(x)
        for _ in range(steps):
            s = self.sweep(x, s)
        return s

    def network(self, bias: str = "digital") -> LayeredHopfield:
        """The same weights as a network of hwsim, biases beside the arrays or as their last columns."""
        links = []
        for w, b in zip(self.weights, self.biases, strict=True):
            if bias == "column":
                links.append(Dense(FloatSynapse(torch.cat([w, b[:, None]], 1)), None))
            else:
                links.append(Dense(FloatSynapse(w.clone()), FloatSynapse(b[:, None].clone())))
        return LayeredHopfield(links, c=self.c, output="clamped" if self.clamped else "linear")


def by_layer(net: LayeredHopfield, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Tensors in the order of ``net.synapses`` as weight, bias (out, 1) pairs, wherever the biases live."""
    if net.links[0].bias is not None:
        return list(tensors)
    return [part for t in tensors for part in (t[:, :-1], t[:, -1:])]


def draw(shape: Sequence[int], rng: torch.Generator, low: float = 0.0, high: float = 1.0) -> Tensor:
    return low + (high - low) * torch.rand(*shape, generator=rng, dtype=DOUBLE)


def random_plain(
    layers: Sequence[int], seed: int, *, scale: float = 1.0, c: float = 1.0, clamped: bool = False
) -> tuple[Plain, Tensor, torch.Generator]:
    """Any weights within ``scale``, an input batch of three, and the generator to draw on from."""
    rng = torch.Generator().manual_seed(seed)
    weights = tuple(draw((out, n), rng, -scale, scale) for n, out in pairwise(layers))
    biases = tuple(draw((out,), rng, -scale, scale) for out in layers[1:])
    return Plain(weights, biases, c, clamped), draw((3, layers[0]), rng), rng


def smooth_plain(
    layers: Sequence[int], seed: int = 0, *, c: float = 1.0, clamped: bool = False, gain: float = 0.6, batch: int = 5
) -> tuple[Plain, Tensor, Tensor]:
    """A net whose units rest strictly within their bounds, so that all is smooth in beta; its input and labels."""
    rng = torch.Generator().manual_seed(seed)
    weights = tuple(draw((o, n), rng, -gain, gain) / n**0.5 for n, o in pairwise(layers))
    biases = tuple(torch.full((out,), c, dtype=DOUBLE) for out in layers[1:])
    plain = Plain(weights, biases, c, clamped)
    x = draw((batch, layers[0]), rng)
    labels = torch.arange(batch) % layers[-1]
    bounded = [layer for index, layer in enumerate(plain.relax(x)) if plain.bounded(index)]
    if not all(bool(((layer > 0.05) & (layer < 0.95)).all()) for layer in bounded):
        raise RuntimeError("the reference net is not smooth: choose another seed or gain")
    return plain, x, labels


def plain_cost(name: str, output: Tensor, labels: Tensor) -> Tensor:
    """(B,) costs, written without hwsim."""
    rows = torch.arange(len(labels))
    if name == "squared":
        target = torch.zeros_like(output)
        target[rows, labels] = 1.0
        return ((output - target) ** 2).sum(1) / 2
    return torch.logsumexp(output, 1) - output[rows, labels]


def reference_gradients(plain: Plain, x: Tensor, labels: Tensor, cost: str = "squared") -> tuple[list[Tensor], Tensor]:
    """(dC/d(weight, bias) pairs, dC/dx) of the mean cost at equilibrium, by autograd through the plain loop."""
    parameters = [p.clone().requires_grad_(True) for p in plain.parameters]
    x = x.clone().requires_grad_(True)
    output = plain.with_parameters(parameters).relax(x)[-1]
    *weights, inputs = torch.autograd.grad(plain_cost(cost, output, labels).mean(), [*parameters, x])
    return list(weights), inputs
