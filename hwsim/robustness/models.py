"""Networks, torch modules and arrays as users have them: what the public functions take, and the first of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hwsim.data.split import Split, as_split
from hwsim.ebm.network import Network
from hwsim.ebm.settle import PHASE, SOLVER, Phase
from hwsim.ebm.solvers import Solver
from hwsim.errors import InputError
from hwsim.rng import Streams
from hwsim.robustness.checks.verdict import is_noisy
from hwsim.robustness.classifier import Classifier, EquilibriumClassifier, TorchClassifier, reseed
from hwsim.robustness.measure import measure
from hwsim.stats.interval import Interval
from hwsim.stats.interval import accuracy as share_interval

PROBED = 32
"""Images whose scores tell whether a module is noisy."""


def as_classifier(model: Any, x: Tensor, *, solver: Solver = SOLVER, phase: Phase = PHASE) -> Classifier:
    """A network, a torch module or a classifier as a classifier of images like ``x`` (N, ...).

    Solver and phase are the relaxation behind a network's predictions. A module's classes are counted, and many passes
    over some images tell whether it is noisy. Raises InputError for anything else, and for a module that fails or
    gives no scores.
    """
    if isinstance(model, Network):
        return EquilibriumClassifier(model, solver, phase)
    if not isinstance(model, torch.nn.Module):
        if all(hasattr(model, name) for name in ("classes", "noisy", "logits", "differentiable")):
            return model
        raise InputError(f"model: expected a network, a torch.nn.Module or a classifier, got {type(model).__name__}")
    classifier, some = TorchClassifier(model, 0), x[:2]
    try:
        scores = classifier.logits(some)
    except (Exception, SystemExit) as error:  # anything may go wrong in somebody else's module
        raise InputError(f"model: fails on images of shape {tuple(some.shape)} ({error})") from error
    if not isinstance(scores, Tensor) or scores.dim() != 2 or len(scores) != len(some):
        given = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise InputError(f"model: gives {given} for {len(some)} images; expected scores ({len(some)}, classes)")
    noisy = is_noisy(classifier, x[:PROBED], Streams(0).generator("attack"))
    return replace(classifier, classes=scores.shape[1], noisy=noisy)


def accuracy(
    model: Any,
    data: Split | tuple[Any, Any],
    *,
    draws: int = 10,
    seed: int = 0,
    solver: Solver = SOLVER,
    phase: Phase = PHASE,
) -> Interval:
    """The share of images that a model classifies rightly, with its 95 % interval.

    Args:
        model: a network, predicting at equilibrium; a torch module, in evaluation mode; a classifier; or a list of
            them, instances of a device or trainings with other seeds, over which the interval then goes as well.
        data: images (N, C, H, W) or (N, pixels) in [0, 1] and labels (N,), as tensors or arrays.
        draws: classifications of an image on fresh read noise, where there is any.
        seed: of the models' noise.
        solver, phase: a network's relaxation, by default ``OddEven()`` sweeps and
            ``Phase(50, average_last=10, stop_early=True)``.

    Raises InputError for what is no model or no data. The interval is Wilson's at the effective number of images, for
    repeats and images at once; see ``hwsim.stats.interval``.

    >>> import hwsim as hw
    >>> interval = hw.accuracy(hw.hopfield([64, 16, 10]), hw.load_data("digits").test)
    >>> 0 <= interval.low <= interval.mean <= interval.high < 0.5
    True
    """
    x, y = as_split(data)
    models = model if isinstance(model, list | tuple) else [model]
    classifiers = [as_classifier(each, x, solver=solver, phase=phase) for each in models]
    streams = Streams(seed).child("accuracy")
    for index, classifier in enumerate(classifiers):
        reseed(classifier, streams.child("instance", index))
    if not len(x):
        raise InputError("accuracy: expected at least one image, got none")
    measured = measure(classifiers, x, y, draws)
    return share_interval(np.array(measured.hits_by_instance) / measured.draws)
