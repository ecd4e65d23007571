"""Maximum likelihood when some parameters are common to all devices and some are each device's own.

Fisher scoring with Levenberg's damping. The information matrix has the shape of an arrow, the common parameters at its
head, so the devices' own are eliminated one device at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwsim.devices.fitting.data import Array
from hwsim.devices.fitting.likelihood import Curvature

Places = NDArray[np.intp]

_TOLERANCE = 0.02  # of the log-likelihood still to be gained, in nats


@dataclass(frozen=True)
class Prior:
    """Gaussians about ``centre`` (D, n) of width ``std`` (n,); ``own`` (n,) marks what each device has for itself."""

    centre: Array
    std: Array
    own: NDArray[np.bool_]

    def split(self) -> tuple[Places, Places]:
        """Indices of the common parameters and of the devices' own; with one device all are common."""
        own = self.own & (len(self.centre) > 1)
        return np.flatnonzero(~own), np.flatnonzero(own)

    def log_density(self, u: Array) -> float:
        common, own = self.split()
        z = (u - self.centre) / self.std
        return -0.5 * float((z[0, common] ** 2).sum() + (z[:, own] ** 2).sum())


@dataclass(frozen=True)
class Optimum:
    """The most likely ``u`` (D, n), its log-likelihood, and covariances.

    ``covariance``: (n, n) with the common parameters' block filled; ``own_std``: (D, n) standard errors of the devices'
    own. ``converged``: was the tolerance reached?
    """

    u: Array
    value: float
    covariance: Array
    own_std: Array
    converged: bool


Climb = Generator[Array, Curvature, Optimum]


def maximise(at: Callable[[Array], Curvature], start: Array, prior: Prior, most_passes: int = 40) -> Optimum:
    """Climb from ``start`` (D, n); ``at(u)`` gives each device's log-likelihood and derivatives."""
    return maximise_all(lambda us: [at(us[0][1])], [climb(start, prior, most_passes)])[0]


def maximise_all(
    at: Callable[[list[tuple[int, Array]]], Sequence[Curvature]], climbs: Sequence[Climb]
) -> list[Optimum]:
    """Several climbs side by side: ``at`` gets (number of the climb, u) of all that still go on, at once."""
    wanted = {k: next(one) for k, one in enumerate(climbs)}
    done: dict[int, Optimum] = {}
    while wanted:
        places = list(wanted.items())
        for (k, _), here in zip(places, at(places), strict=True):
            try:
                wanted[k] = climbs[k].send(here)
            except StopIteration as end:
                done[k] = end.value
                del wanted[k]
    return [done[k] for k in range(len(climbs))]


def climb(start: Array, prior: Prior, most_passes: int = 40) -> Climb:
    """Yields every point where it needs a ``Curvature``, is sent that, and returns the optimum."""
    u, damping = start, 1e-2
    here = yield u
    best = here.value.sum() + prior.log_density(u)
    converged = False
    for _ in range(most_passes):
        step, gain = _step(here, u, prior, damping)
        if gain < _TOLERANCE:
            converged = True
            break
        trial = u + np.clip(step, -1.0, 1.0)
        there = yield trial
        reached = there.value.sum() + prior.log_density(trial)
        if np.isfinite(reached) and reached > best:
            u, here, best, damping = trial, there, reached, damping / 10
        elif damping > 1e4:
            converged = gain < 1.0
            break
        else:
            damping *= 10
    covariance, own_std = _covariances(here, prior)
    return Optimum(u, float(here.value.sum()), covariance, own_std, converged)


def _arrow(here: Curvature, prior: Prior, damping: float) -> tuple[Array, Array, Array]:
    """Blocks of the damped information: own (D, k, k), own-common (D, k, c), and common (c, c)."""
    common, own = prior.split()
    precision = prior.std**-2.0
    inner = here.information[:, own[:, None], own] + np.diag(precision[own])
    head = here.information[:, common[:, None], common].sum(0) + np.diag(precision[common])
    inner = inner * (1 + damping * np.eye(len(own)))
    return inner, here.information[:, own[:, None], common], head * (1 + damping * np.eye(len(common)))


def _step(here: Curvature, u: Array, prior: Prior, damping: float) -> tuple[Array, float]:
    """The damped scoring step (D, n), and what it promises to gain."""
    common, own = prior.split()
    inner, link, head = _arrow(here, prior, damping)
    pull = (prior.centre - u) / prior.std**2
    g_own = (here.gradient + pull)[:, own]
    g_common = here.gradient[:, common].sum(0) + pull[0, common]
    solved = np.linalg.solve(inner, np.concatenate([link, g_own[:, :, None]], axis=2))
    schur = head - np.einsum("dkc,dke->ce", link, solved[:, :, :-1])
    towards = g_common - np.einsum("dkc,dk->c", link, solved[:, :, -1])
    step = np.zeros_like(u)
    step[:, common] = np.linalg.solve(schur, towards)
    step[:, own] = solved[:, :, -1] - solved[:, :, :-1] @ step[0, common]
    gain = 0.5 * float(g_common @ step[0, common] + (g_own * step[:, own]).sum())
    return step, gain


def _covariances(here: Curvature, prior: Prior) -> tuple[Array, Array]:
    common, own = prior.split()
    inner, link, head = _arrow(here, prior, 0.0)
    solved = np.linalg.solve(inner, link)
    common_covariance = np.linalg.inv(head - np.einsum("dkc,dke->ce", link, solved))
    count = len(prior.std)
    covariance = np.zeros((count, count))
    covariance[common[:, None], common] = common_covariance
    own_covariance = np.linalg.inv(inner) + solved @ common_covariance @ solved.transpose(0, 2, 1)
    own_std = np.zeros((len(inner), count))
    own_std[:, own] = np.sqrt(np.diagonal(own_covariance, axis1=1, axis2=2))
    return covariance, own_std
