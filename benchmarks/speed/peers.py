"""Published code for equilibrium propagation beside hwsim, where its checkouts are given; none of it is shipped.

Laborieux et al. 2021, github.com/Laborieux-Axel/Equilibrium-Propagation (``Equilibrium-Propagation`` in the folder),
and Scellier et al. 2023, github.com/rain-neuromorphics/energy-based-learning (``energy-based-learning``). Both relax by
s = clamp(v, 0, 1), which is c = 1/2 here, with a linear output. Theirs nudges a step with the slope at the state
before, ours with the minimiser: free phases are equal step by step, nudged ones at rest.

Each ``*_step`` gives (a whole training step: three phases, the gradient, momentum; the state after its free phase).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from hwsim.ebm.convolution import Convolution
from hwsim.ebm.hopfield import LayeredHopfield
from hwsim.errors import InputError

LABORIEUX, RAIN = "Equilibrium-Propagation", "energy-based-learning"
NEEDED = {LABORIEUX: "model_utils.py", RAIN: "model/hopfield/network.py"}


class Lengths(NamedTuple):
    """Steps of the phases, and the nudge."""

    free: int
    nudged: int
    beta: float


class Peer(NamedTuple):
    """Somebody's training step, and the free layers after its free phase."""

    step: Callable[[], object]
    free: Callable[[], Sequence[Tensor]]


def checkouts(folder: Path) -> dict[str, Path]:
    """Those of the two that lie in ``folder``, by name. Raises InputError where none does."""
    found = {name: folder / name for name, file in NEEDED.items() if (folder / name / file).is_file()}
    if not found:
        raise InputError(f"--peers {folder}: expected a checkout named {LABORIEUX} or {RAIN} in it, found neither")
    return found


def _weights(net: LayeredHopfield) -> list[tuple[Tensor, Tensor]]:
    """(kernels or matrix, bias) of every link."""
    found = []
    for link in net.links:
        weight, bias = (synapse.weight() for synapse in link.synapses)
        if isinstance(link, Convolution):
            weight = weight.unflatten(1, (link.window.channels, link.window.kernel, link.window.kernel))
        found.append((weight, bias[:, 0]))
    return found


def _module(folder: Path, name: str) -> Any:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return importlib.import_module(name)


class _Squares:
    """Squared error by another name than MSE, under which their output would be clamped."""

    def __call__(self, output: Tensor, labels: Tensor) -> Tensor:
        return 0.5 * (output - functional.one_hot(labels, output.shape[1])).square().sum(1)


def laborieux(folder: Path, net: LayeredHopfield, x: Tensor, labels: Tensor, lengths: Lengths) -> Peer:
    """``P_MLP`` or ``P_CNN`` with the weights of ``net``, trained as ``main.py`` does with a third phase."""
    theirs, layers = _module(folder, "model_utils"), _weights(net)
    kernels = [weight for weight, _ in layers if weight.dim() == 4]

    def clamped(v: Tensor) -> Tensor:
        return v.clamp(0, 1)

    if kernels:
        count = len(kernels)
        channels = [kernels[0].shape[1], *(len(weight) for weight in kernels)]
        pools, ones = theirs.make_pools("m" * count), [1] * count
        geometry = (net.links[0].pre_shape[1], channels, [3] * count, ones, [net.classes], pools, ones)
        model = theirs.P_CNN(*geometry, activation=clamped)
    else:
        model = theirs.P_MLP([net.links[0].pre_shape[0], *(len(weight) for weight, _ in layers)], activation=clamped)
    for own, (weight, bias) in zip(model.synapses, layers, strict=True):
        own.weight.data.copy_(weight)
        own.bias.data.copy_(bias)
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9)
    beta, criterion = lengths.beta, _Squares()

    def free() -> list[Tensor]:
        start = model.init_neurons(len(x), x.device)
        return model(x, labels, start, lengths.free, beta=0.0, criterion=criterion)

    def step() -> None:
        rest = theirs.copy(free())
        ends = []
        for nudge in (beta, -beta):
            ends.append(theirs.copy(model(x, labels, theirs.copy(rest), lengths.nudged, nudge, criterion)))
        model.compute_syn_grads(x, labels, *ends, (beta, -beta), criterion)
        optimiser.step()

    return Peer(step, free)


def rain(folder: Path, net: LayeredHopfield, x: Tensor, labels: Tensor, lengths: Lengths, mode: str) -> Peer:
    """A network of theirs with the same layers and weights; ``mode`` synchronous or asynchronous."""
    networks, functions = _module(folder, "model.hopfield.network"), _module(folder, "model.function.network")
    interactions, costs = _module(folder, "model.function.interaction"), _module(folder, "model.function.cost")
    minimizers, sgd = _module(folder, "model.hopfield.minimizer"), _module(folder, "training.sgd")
    shapes = [net.links[0].pre_shape, *(link.post_shape for link in net.links)]
    kinds = ["input", *["hard-sigmoid"] * (len(shapes) - 2), "linear"]
    layers = [networks.create_layer(shape, kind) for shape, kind in zip(shapes, kinds, strict=True)]
    params, energies = [], []
    for i, (weight, bias) in enumerate(_weights(net)):
        edge = "conv_max_pool" if weight.dim() == 4 else "dense"
        for kind, ends, shape, value in (
            ("bias", [i + 1], tuple(bias.shape), bias),
            (edge, [i, i + 1], tuple(weight.shape), weight if edge != "dense" else weight.T.unflatten(0, shapes[i])),
        ):
            param, energy = networks.create_edge(layers, kind, ends, 0.5, shape, 1)
            param.state = value.clone().contiguous()
            params.append(param)
            energies.append(energy)
    function = interactions.SumSeparableFunction(layers, params, energies)
    function.set_device("cpu")
    cost, network = costs.SquaredError(layers[-1]), functions.Network(function)
    augmented = sgd.AugmentedFunction(function, cost)
    relax = minimizers.FixedPointMinimizer(function, network.free_layers(), lengths.free, mode)
    nudged = minimizers.FixedPointMinimizer(augmented, network.free_layers(), lengths.nudged, mode)
    estimator = sgd.EquilibriumProp(params, layers, augmented, cost, nudged, "centered", lengths.beta)
    optimiser = torch.optim.SGD([param.state for param in params], lr=1e-6, momentum=0.9)

    def free() -> list[Tensor]:
        network.set_input(x, reset=True)
        relax.compute_equilibrium()
        return [layer.state for layer in network.free_layers()]

    def step() -> None:
        free()
        cost.set_target(labels)
        for param, gradient in zip(params, estimator.compute_gradient(), strict=True):
            param.state.grad = gradient
        optimiser.step()

    return Peer(step, free)
