"""The quadratic form of an energy near a state, its spectrum and the factor that sweeps take from it."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from theory_reference import DOUBLE, Bug, Plain, draw, must_reject, random_plain
from torch import Tensor
from torch.testing import assert_close

import hwsim.ebm.spectrum
from hwsim.crossbar.exact import FloatDevice
from hwsim.ebm.build import Conv, layered_hopfield
from hwsim.ebm.convolution import Convolution
from hwsim.ebm.costs import CrossEntropy, SquaredError
from hwsim.ebm.dense import DenseChain, planned
from hwsim.ebm.energy import Energy, Nudged, State
from hwsim.ebm.hopfield import LayeredHopfield
from hwsim.ebm.linearised import Linearised
from hwsim.ebm.links import Dense
from hwsim.ebm.settle import OddEven, Phase, settle
from hwsim.ebm.spectrum import coupling_radius, over_relaxation
from hwsim.errors import InputError
from hwsim.rng import Streams


def convolutional(pool: str, bias: str) -> tuple[LayeredHopfield, Tensor]:
    device = FloatDevice(dtype=DOUBLE)
    layers = [Conv(3, pool="max"), Conv(4, pool=pool), Conv(4, stride=2)]
    net = layered_hopfield([(2, 8, 8), *layers, 3], device, Streams(0), bias=bias, bias_device=device)
    rng = torch.Generator().manual_seed(4)
    weights = [w.double() for w in net.initial_weights(3.0, Streams(1))]
    for w in weights[1::2] if bias == "digital" else weights:
        w[:, -1] = draw((len(w),), rng, -0.2, 0.2)
    net.program(weights)
    return net, draw((3, 2, 8, 8), torch.Generator().manual_seed(2))


def dense(bias: str) -> tuple[LayeredHopfield, Tensor]:
    plain, x, _ = random_plain((4, 6, 5, 3), 1)
    return plain.network(bias), x


NETS: dict[str, Callable[[], tuple[LayeredHopfield, Tensor]]] = {
    "dense": lambda: dense("digital"),
    "dense, bias column": lambda: dense("column"),
    "max-pooled": lambda: convolutional("max", "digital"),
    "average-pooled, bias column": lambda: convolutional("average", "column"),
}


def at_rest(net: LayeredHopfield, x: Tensor, beta: float = 0.0) -> tuple[Energy, State]:
    given = net.given(x)
    target = SquaredError().encode(torch.arange(len(x)) % 3, net.initial(x)[-1])
    energy = Nudged(given, SquaredError(), target, beta) if beta else given
    return energy, settle(energy, given.start(), solver=OddEven(), phase=Phase(60)).state


def hessians(energy: Energy, s: State) -> list[Tensor]:
    """Each example's matrix of second derivatives by autograd of the energy's value, at units that are free."""
    shapes = [layer.shape[1:] for layer in s]
    sizes = [shape.numel() for shape in shapes]

    def value(flat: Tensor) -> Tensor:
        parts = flat.view(len(s[0]), -1).split(sizes, 1)
        return energy.value(tuple(p.view(-1, *shape) for p, shape in zip(parts, shapes, strict=True))).sum()

    flat = torch.cat([layer.flatten(1) for layer in s], 1)
    whole = torch.autograd.functional.hessian(value, flat.flatten()).view(*flat.shape, *flat.shape)
    masks = []
    for block, layer in enumerate(s):
        low, high = energy.bounds(block)
        masks.append(((layer > low) & (layer < high)).flatten(1).double())
    free = torch.cat(masks, 1)
    return [whole[i, :, i] * free[i][:, None] * free[i] for i in range(len(flat))]


def check_products(name: str, beta: float) -> None:
    net, x = NETS[name]()
    energy, s = at_rest(net, x, beta)
    near, rng = Linearised.at(energy, s), torch.Generator().manual_seed(3)
    v = {i: draw(layer.shape, rng, -1, 1) * near.free[i] for i, layer in enumerate(s)}
    coupled = near.couple(v, range(len(s)))
    found = torch.cat([(near.own[i] * v[i] - coupled[i]).flatten(1) for i in range(len(s))], 1)
    flat = torch.cat([v[i].flatten(1) for i in range(len(s))], 1)
    expected = torch.stack([h @ row for h, row in zip(hessians(energy, s), flat, strict=True)])
    assert 0.05 < torch.cat([f.flatten(1) for f in near.free], 1).mean() < 0.95  # some are held, some are free
    assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("beta", [0.0, -0.7])
@pytest.mark.parametrize("name", NETS)
def test_products_are_those_of_the_hessian_by_autograd(name: str, beta: float) -> None:
    check_products(name, beta)


def _as_forward(self: Dense | Conv, way: Tensor, switches: Tensor | None = None) -> Tensor:
    return self.forward(way)


@pytest.mark.parametrize(("name", "owner"), list(zip(NETS, (Dense, Dense, Convolution, Convolution), strict=True)))
def test_product_check_rejects_biases_and_maxima_of_the_way_itself(name: str, owner: type) -> None:
    must_reject(Bug("as forward", owner, "along", _as_forward), check_products, name, 0.0)


def chain_of(energy: Energy) -> DenseChain:
    with torch.no_grad():
        chain = planned(energy)
    assert isinstance(chain, DenseChain)
    return chain


def test_the_curvature_of_an_output_is_that_of_the_energy_with_its_hidden_layer_at_rest() -> None:
    plain, x, _ = random_plain((4, 7, 3), 2)
    for beta in (0.0, 0.6):
        energy, s = at_rest(plain.network(), x, beta)
        chain = chain_of(energy)
        known = chain.output_curvature(s)
        assert known is not None
        found, own = known
        assert own == 2 + beta
        for i, h in enumerate(hessians(energy, s)):
            a, b, d = h[7:, 7:], h[7:, :7], h[:7, :7] + 2 * torch.diag((h[:7, :7].diagonal() == 0).double())
            assert_close(found[i], a - b @ torch.linalg.solve(d, b.T), rtol=0, atol=1e-12)


def test_networks_without_such_an_output_have_none() -> None:
    deep, x, _ = random_plain((4, 5, 5, 3), 2)
    clamped, _, _ = random_plain((4, 5, 3), 2, clamped=True)
    for energy, s in (at_rest(deep.network(), x), at_rest(clamped.network(), x)):
        chain = chain_of(energy)
        assert chain.output_curvature(s) is None
    given, s = at_rest(deep.network(), x)
    with pytest.raises(InputError, match="quadratic cost"):
        Linearised.at(Nudged(given, CrossEntropy(), s[-1], 0.5), s)


def radii(energy: Energy, s: State) -> Tensor:
    """The spectral radius of Jacobi's method on the free units, by eigenvalues of the whole matrix."""
    found = []
    for h in hessians(energy, s):
        scale = h.diagonal().clamp_min(1e-30).rsqrt() * (h.diagonal() > 0)
        scaled = h * scale[:, None] * scale
        found.append(torch.linalg.eigvalsh(torch.diag(scaled.diagonal()) - scaled).abs().max())
    return torch.stack(found)


def check_radius(name: str, beta: float = 0.0) -> None:
    net, x = NETS[name]()
    energy, s = at_rest(net, x, beta)
    expected = radii(energy, s)
    assert expected.max() > 0.1
    found = coupling_radius(energy, s, torch.Generator().manual_seed(0), products=30)
    assert_close(found, expected, rtol=1e-8, atol=0)
    few = coupling_radius(energy, s, torch.Generator().manual_seed(0), products=3)
    assert bool((few <= expected * (1 + 1e-12)).all())


@pytest.mark.parametrize("name", ["dense", "max-pooled"])
def test_the_radius_is_the_largest_eigenvalue(name: str) -> None:
    check_radius(name)
    check_radius(name, beta=0.9)


def _no_square_root(*given: object, **how: object) -> Tensor:
    return _radius(*given, **how) ** 2  # type: ignore[arg-type]


_radius = coupling_radius


def test_radius_check_rejects() -> None:
    must_reject(Bug("no masks", Linearised, "at", classmethod(_all_free)), check_radius, "dense")  # type: ignore[arg-type]


def _all_free(cls: type[Linearised], energy: Energy, s: State) -> Linearised:
    near = _at(energy, s)
    return Linearised(near.links, near.switches, tuple(torch.ones_like(f) for f in near.free), near.own)


_at = Linearised.at


def sweeps(plain: Plain, x: Tensor, damping: float) -> float:
    given = plain.network().given(x)
    end = settle(given, given.start(), solver=OddEven(damping), phase=Phase(400, tolerance=1e-9, stop_early=True))
    return end.steps.double().mean().item()


def check_factor() -> None:
    """Strongly coupled free units: the factor takes less than half as many sweeps, and none nearby far fewer."""
    rng = torch.Generator().manual_seed(0)
    w = draw((8, 6), rng, -1, 1)
    w = w * 1.9 / torch.linalg.matrix_norm(w, 2)  # r = .95
    half, one = (torch.full((n,), value, dtype=DOUBLE) for n, value in ((6, 0.5), (8, 1.0)))
    biases = (0.9 - w.T @ torch.full_like(one, 0.5), one - w @ half)  # rest near .5
    plain = Plain((draw((6, 4), rng, -0.1, 0.1), w), biases, clamped=True)
    x = draw((3, 4), rng)
    energy, s = at_rest(plain.network(), x)
    factor = hwsim.ebm.spectrum.over_relaxation(energy, s, torch.Generator().manual_seed(0))
    assert sweeps(plain, x, factor) < 0.5 * sweeps(plain, x, 1.0)
    assert sweeps(plain, x, factor) <= 1.2 * min(sweeps(plain, x, factor + d) for d in (-0.15, -0.05, 0.05, 0.15))


def test_the_factor_is_the_one_that_takes_fewest_sweeps() -> None:
    check_factor()
    wrong = Bug("radius squared", hwsim.ebm.spectrum, "coupling_radius", _no_square_root)
    must_reject(wrong, check_factor)


def test_factors_of_nothing_and_of_states_that_are_no_minimum() -> None:
    plain, x, _ = random_plain((3, 2), 0)
    rng = torch.Generator()
    assert over_relaxation(plain.network().given(x), plain.network().initial(x), rng) == 1.0  # a single layer
    none = torch.zeros(1, dtype=DOUBLE)
    pair = Plain((none[:, None], torch.full((1, 1), 4.0, dtype=DOUBLE)), (none, none))
    half = (torch.full((3, 1), 0.5, dtype=DOUBLE),) * 2
    assert over_relaxation(pair.network().given(x[:, :1]), half, rng) == hwsim.ebm.spectrum.LARGEST  # r = 2
    nowhere = (torch.full((3, 1), math.nan, dtype=DOUBLE),) * 2
    assert over_relaxation(pair.network().given(x[:, :1]), nowhere, rng) == 1.0
