"""What a device does to robustness: clean, noisy, corrupted and attacked images on one network.

Beside the network's own accuracy it gives two comparisons. *Transfer*: images attacked on the float network of the
same seed, which no noise of the device can mask. *Matched*: the float network with as much noise added as brings its
clean accuracy down to the device's, attacked on its own weights; what a device keeps beyond it, it does not owe to
having lost accuracy (noise matching after Lammie et al., Nat. Commun. 16:1756, 2025).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from hwsim.crossbar.cell_array import CellDevice
from hwsim.crossbar.reads.periphery import ReadPath
from hwsim.devices.responses import IdealCell
from hwsim.ebm.network import Network
from hwsim.errors import InputError
from hwsim.experiments.evaluation import conditions, perturbed
from hwsim.experiments.sweep.measurement import (
    Measurement,
    Record,
    Resolved,
    column,
    evaluated,
    in_float,
    in_situ,
    plain,
    resolve,
    test_images,
)
from hwsim.experiments.sweep.study import Spec
from hwsim.experiments.trained import programmed
from hwsim.rng import Streams
from hwsim.robustness.corruptions.condition import Condition
from hwsim.robustness.corruptions.corruptions import input_noise
from hwsim.robustness.measure import Measured

CASES = ("float", "programmed", "in-situ")
MATCHES = ("none", "output-noise", "input-noise")
BISECTIONS = 8
WIDEST = {"output-noise": 8.0, "input-noise": 2.0}
"""Noise that leaves nothing of any network: the upper end of the search."""


def _resolve(spec: Spec) -> Record:
    options = spec.options()
    for name, known in (("case", CASES), ("match", MATCHES)):
        if options.get(name, known[0]) not in known:
            raise InputError(f"measurement.{name}: expected one of {', '.join(known)}, got {options[name]!r}")
    age = options.get("age_s", 0)
    if not isinstance(age, int | float) or age < 0:
        raise InputError(f"measurement.age_s: expected a time in s, at least 0, got {age!r}")
    if age and not resolve(spec).card.device.drifts:
        raise InputError(f"measurement.age_s: {spec.device} does not drift")
    return plain(spec)


def _compute(spec: Spec) -> Record:
    found, seed, options = resolve(spec), spec.seed, dict(ROBUSTNESS.options) | spec.options()
    exact = in_float(found, seed)
    columns: Record = {}
    if options["case"] == "float":
        net = exact
    elif options["case"] == "programmed":
        net = programmed(found.model.energy, found.card.device, exact, Streams(seed).child("programmed"))
    else:
        net, columns = in_situ(found, seed)
    if options["age_s"]:
        net.age(options["age_s"])
    hits: Record = {}

    def keep(name: str, measured: Measured) -> None:
        columns[name], hits[name] = measured.accuracy, {"draws": measured.draws, "hits": measured.hits}

    clean = evaluated(found, net, seed, Condition("clean"))
    keep("accuracy_share", clean)
    columns |= {"unsettled_share": clean.unsettled_share, "noise_floor_share": clean.noise_floor_share}
    sigma, matched = _matched(found, exact, seed, options["match"], columns["accuracy_share"])
    columns["matched_noise_sigma"] = sigma
    keep("matched_accuracy_share", matched(Condition("clean"), None))
    for condition in conditions(found.model.evaluation)[1:]:
        x, labels = test_images(found)
        streams = Streams(0).child(condition.name, condition.level)
        images = perturbed(exact, condition, x, labels, found.model.evaluation, streams)
        keep(column(condition, "matched_accuracy"), matched(condition, images))
        if condition.unit == "epsilon":
            keep(column(condition, "transfer_accuracy"), evaluated(found, net, seed, condition, images))
            images = None  # its own attack, on its own weights
        keep(column(condition), evaluated(found, net, seed, condition, images))
    return {"columns": columns, "hits": hits}


def _matched(
    found: Resolved, exact: Network, seed: int, way: str, wanted: float
) -> tuple[float | None, Callable[[Condition, Tensor | None], Measured]]:
    """The noise that brings the float network down to an accuracy, and how the network with it judges images.

    Accuracy falls with noise; the bisection ends within 2^-8 of the widest noise, or at 0 where none is needed.
    """
    x, _ = test_images(found)

    def noisy(sigma: float, condition: Condition, images: Tensor | None) -> Measured:
        images = x if images is None else images
        if way == "input-noise":
            own = Streams(seed).child("matching", condition.name, condition.level).generator("corruption")
            return evaluated(found, exact, seed, condition, input_noise(images, sigma, own) if sigma else images)
        cell: Any = IdealCell()
        device = CellDevice(cell, forward=ReadPath(out_noise=sigma))
        net = programmed(found.model.energy, device, exact, Streams(seed).child("matched"))
        return evaluated(found, net, seed, condition, images)

    low, high = 0.0, WIDEST.get(way, 0.0)
    if way == "none" or noisy(0.0, Condition("clean"), None).accuracy <= wanted:
        return (None if way == "none" else 0.0), lambda condition, images: noisy(0.0, condition, images)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        better = noisy(middle, Condition("clean"), None).accuracy > wanted
        low, high = (middle, high) if better else (low, middle)
    return high, lambda condition, images: noisy(high, condition, images)


ROBUSTNESS = Measurement(_resolve, _compute, (("case", "in-situ"), ("age_s", 0), ("match", "output-noise")))
