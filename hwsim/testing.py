"""What every device must do: a conformance suite for ours and for yours.

>>> import hwsim as hw
>>> hw.testing.check_device(hw.device("soft-bounds-cell"))    # AssertionError, with what was found and expected

Each check is a function ``(device, streams, gap) -> Check`` that builds arrays of its own, so one failure does not hide
another. What is random is judged by bounds that a conforming device misses with probability 1e-9 or less; what a device
may do imperfectly (programming, the two read directions) is measured, reported and held against a generous limit.
Arrays are read in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hwsim.crossbar.composite import layout
from hwsim.crossbar.synapse import Ages, Bounded, Device, KnownAges, Synapse
from hwsim.crossbar.wrapped import innermost_device
from hwsim.rng import Streams

SHAPE = (16, 24)
GAP = 0.1
"""Relative difference allowed between what the two directions read, and between that and the weights."""

_SIGMAS = 6.5  # a Gaussian vector of d entries is longer than sqrt(d) + t with probability exp(-t^2 / 2) < 1e-9
_ROUNDS = 8
_READS = 2000  # random vectors behind an estimate of the matrix that a direction reads
_AGES_S = (10.0, 1e4)


@dataclass(frozen=True)
class Check:
    """A check's outcome, in words for people."""

    name: str
    passed: bool
    found: str
    expected: str


CheckFunction = Callable[[Device, Streams, float], Check]


def conformance(device: Device, streams: Streams | None = None, gap: float = GAP) -> list[Check]:
    """All checks on a device; one that raises has failed.

    Args:
        device: what ``hwsim.cards.device.read_device(name).device`` gives, or one of your own.
        streams: of all randomness; ``Streams(0)`` if None.
        gap: see ``GAP``; raise it for a device whose directions are known to differ, by wire resistance for example.
    """
    streams = streams or Streams(0)
    checks = []
    for name, check in CHECKS.items():
        try:
            checks.append(check(device, streams.child(name), gap))
        except (Exception, SystemExit) as error:  # a device that is not ours fails in any way it likes
            told = (str(error).strip() or "no message").splitlines()[0]
            checks.append(Check(name, False, f"{type(error).__name__}: {told}", "no exception"))
    return checks


def check_device(device: Device, streams: Streams | None = None, gap: float = GAP) -> None:
    """``conformance`` for a test of your own: AssertionError that lists every check that failed."""
    failed = [check for check in conformance(device, streams, gap) if not check.passed]
    if failed:
        lines = [f"{check.name}: found {check.found}; expected {check.expected}" for check in failed]
        raise AssertionError("\n".join([f"{type(device).__name__} fails {len(failed)} checks", *lines]))


def shapes(device: Device, streams: Streams, gap: float) -> Check:
    """Everything that has a shape has the right one, is finite, and the meter counts vectors."""
    del gap
    synapse = _programmed(device, streams)
    post, pre = SHAPE
    wrong = []
    for batch in (1, 3):
        seen = synapse.meter.vectors_read, synapse.meter.vectors_read_transpose
        results = {"read": (synapse.read(_inputs(batch, pre, streams)), (batch, post))}
        results["read_transpose"] = (synapse.read_transpose(_inputs(batch, post, streams)), (batch, pre))
        results["weight"] = (synapse.weight(), SHAPE)
        for name, (value, shape) in results.items():
            if tuple(value.shape) != shape or not torch.isfinite(value).all():
                wrong.append(f"{name} of a batch of {batch}: {tuple(value.shape)}, not finite numbers of {shape}")
        counted = synapse.meter.vectors_read - seen[0], synapse.meter.vectors_read_transpose - seen[1]
        if not all(_counted(count, batch, synapse) for count in counted):
            wrong.append("the meter does not count the vectors read")
    if not synapse.conductances() or not all(torch.isfinite(g).all() for g in synapse.conductances().values()):
        wrong.append("conductances() is empty or not finite")
    if not 0 <= synapse.clipped_share() <= 1:
        wrong.append(f"clipped_share() = {synapse.clipped_share()}")
    return _check("shapes", wrong, "as documented", f"finite arrays of {SHAPE} in every direction, vectors counted")


def determinism(device: Device, streams: Streams, gap: float) -> Check:
    """Two arrays under the same streams live the same life: bit for bit if seedable, else in the mean."""
    del gap
    before = torch.random.get_rng_state()
    lives = [_life(device, streams) for _ in range(2)]
    if device.seedable:
        wrong = [] if torch.equal(*lives) else [f"the largest difference is {_largest(lives[0] - lives[1]):.3g}"]
        if not torch.equal(before, torch.random.get_rng_state()):
            wrong.append("torch's global generator was used")
        return _check("determinism", wrong, "bit for bit equal", "equal under equal streams, no global randomness")
    # Unseeded pulses: the mean over the cross-points of two lives agrees within their own spread.
    means, errors = zip(*((float(w.mean()), float(w.std()) / math.sqrt(w.numel())) for w in lives), strict=True)
    found, most = abs(means[0] - means[1]), _SIGMAS * math.hypot(*errors) + 1e-6
    expected = f"mean weights that differ by less than {most:.2g} (6.5 standard errors; not seedable)"
    return Check("determinism", found <= most, f"mean weights differ by {found:.2g}", expected)


def reads_repeat(device: Device, streams: Streams, gap: float) -> Check:
    """Reads repeat after ``reseed_reads``, and ``noisy`` says whether they repeat without it."""
    del gap
    synapse = _programmed(device, streams)
    x, d = _inputs(20, SHAPE[1], streams), _inputs(20, SHAPE[0], streams)

    def both() -> Tensor:
        return torch.cat([synapse.read(x).flatten(), synapse.read_transpose(d).flatten()])

    wrong = []
    if synapse.noisy is torch.equal(both(), both()):
        wrong.append(f"noisy is {synapse.noisy}, and two reads are {'equal' if synapse.noisy else 'different'}")
    if device.seedable or not device.unseeded_reads:
        again = []
        for child in ("a", "a", "b"):
            synapse.reseed_reads(streams.child(child))
            again.append(both())
        if not torch.equal(again[0], again[1]):
            wrong.append("reads differ after reseeding with the same streams")
        if synapse.noisy and torch.equal(again[0], again[2]):
            wrong.append("reads are equal after reseeding with other streams")
    return _check("reads repeat", wrong, "noise as stated, seeded", "`noisy` as reads show; reseeding starts anew")


def read_mean(device: Device, streams: Streams, gap: float) -> Check:
    """What a forward read gives in the mean is W times its input."""
    synapse = _programmed(device, streams)
    estimate, error = _estimated(synapse.read, SHAPE[1], streams)
    return _near("mean of reads", estimate, synapse.weight(), error, gap, "weight()")


def adjointness(device: Device, streams: Streams, gap: float) -> Check:
    """The transpose read is the transpose of what the forward read is, in the mean; the gap is reported."""
    synapse = _programmed(device, streams)
    forward, error = _estimated(synapse.read, SHAPE[1], streams)
    backward, error_back = _estimated(synapse.read_transpose, SHAPE[0], streams)
    return _near("adjointness", backward.T, forward, math.hypot(error, error_back), gap, "the forward read's matrix")


def gradient(device: Device, streams: Streams, gap: float) -> Check:
    """Reads carry a gradient to their input, the one of the transposed weights (straight through)."""
    del gap
    synapse = _programmed(device, streams)
    x = _inputs(200, SHAPE[1], streams).requires_grad_()
    towards = torch.ones(SHAPE[0])
    synapse.read(x).backward(towards.expand(200, -1))
    if x.grad is None:
        return Check("gradient", False, "none", "a gradient of the input")
    cosine = _cosine(x.grad.mean(0), towards @ synapse.weight().to(x.dtype))
    return Check("gradient", cosine > 0.8, f"cosine {cosine:.3f} to W^T v", "cosine above 0.8")


def update_direction(device: Device, streams: Streams, gap: float) -> Check:
    """Updates move weights along sum_b post_b pre_b^T, and a rate of 0 moves nothing.

    200 updates are enough for most. A compound that waits until its choppers have turned gets up to ``_ROUNDS`` times
    as many.
    """
    del gap
    synapse = device.synapse(*SHAPE, streams)
    synapse.program(torch.zeros(SHAPE))
    before, version = synapse.weight(), synapse.version
    pre, post = _signs(SHAPE[1], streams.child("pre")), _signs(SHAPE[0], streams.child("post"))
    # Change that has nothing to do with the update, and has no direction, has a cosine of 0 +- 1 / sqrt(entries).
    least, cosine, sent, after = _SIGMAS / math.sqrt(math.prod(SHAPE)), 0.0, 0, before
    for _ in range(_ROUNDS):
        for _ in range(200):
            synapse.update(pre.repeat(4, 1), post.repeat(4, 1), 0.05)
            synapse.tick()
        after, sent = synapse.weight(), sent + 800
        cosine = _cosine((after - before).float(), post.T @ pre)
        if cosine > least:
            break
    wrong = []
    if not _counted(synapse.meter.vectors_updated, sent, synapse):
        wrong.append("the meter does not count the vectors updated")
    if not synapse.version > version:
        wrong.append("version does not rise when weights change")
    synapse.update(pre, post, 0.0)
    if not torch.equal(after, synapse.weight()):
        wrong.append("an update at rate 0 moves weights")
    if not cosine > least:
        wrong.append(f"cosine {cosine:.3f} between change and outer product")
    expected = f"cosine above {least:.2f} (6.5 standard errors of no direction), nothing at rate 0"
    return _check("update direction", wrong, f"cosine {cosine:.3f} to the outer product", expected)


def bounds(device: Device, streams: Streams, gap: float) -> Check:
    """No train of pulses leads out of the bounds that the array states (``limits()``), or to NaN."""
    del gap
    synapse = device.synapse(*SHAPE, streams)
    rng = streams.generator("data")
    pre, post = torch.ones(8, SHAPE[1]), torch.ones(8, SHAPE[0])
    mixed = torch.randn(8, SHAPE[1], generator=rng), torch.randn(8, SHAPE[0], generator=rng)
    trains = {"up": (pre, post), "down": (pre, -post), "mixed": mixed}
    limits = synapse.limits if isinstance(synapse, Bounded) else dict
    wrong, stated = [], 0
    for name, (x, d) in trains.items():
        for _ in range(30):
            synapse.update(x, d, 1.0)
            synapse.tick()
        if not torch.isfinite(synapse.weight()).all():
            wrong.append(f"weights are not finite after the train {name}")
        for part, (value, lower, upper) in limits().items():
            stated += 1
            beyond = _largest(torch.maximum(value - upper, lower - value).clamp_min(0))
            if not beyond <= 1e-5 * max(1.0, _largest(value)):
                wrong.append(f"{part} is {beyond:.3g} beyond its bound after the train {name}")
    found = "inside, finite" if stated else "finite (no bounds stated)"
    return _check("bounds", wrong, found, "finite, and inside limits() where the array has them")


def programming(device: Device, streams: Streams, gap: float) -> Check:
    """What is programmed comes back; what cannot be programmed is refused."""
    del gap
    synapse = device.synapse(*SHAPE, streams)
    wanted = _target(streams)
    synapse.program(wanted)
    got = synapse.weight().to(wanted.dtype)
    error, slope = float((got - wanted).norm() / wanted.norm()), float((got * wanted).sum() / wanted.square().sum())
    found = f"relative error {error:.3f}, slope {slope:.3f}"
    wrong = [] if _cosine(got, wanted) > 0.7 and 0.7 < slope < 1.4 else [found]
    for what, bad in {"another shape": torch.zeros(2, 3), "NaN": torch.full(SHAPE, math.nan)}.items():
        if not _refused(synapse, bad):
            wrong.append(f"a matrix of {what} is accepted")
    synapse.program(torch.zeros(SHAPE))
    if not float(synapse.weight().norm()) < float(wanted.norm()):
        wrong.append("programming zeros leaves larger weights than those before")
    expected = "cosine above 0.7 and slope in (0.7, 1.4); ValueError for a wrong shape or NaN"
    return _check("programming", wrong, found, expected)


def state(device: Device, streams: Streams, gap: float) -> Check:
    """A saved state gives another array the same weights, and, where all is seeded, the same future."""
    del gap
    one, other = (device.synapse(*SHAPE, streams.child(i)) for i in range(2))
    one.program(_target(streams))
    _work(one, streams)
    saved = one.state_dict()
    wrong = [f"{name} is no tensor" for name, value in saved.items() if not isinstance(value, Tensor)]
    other.load_state_dict({name: value.clone() for name, value in saved.items()})
    if not torch.equal(one.weight(), other.weight()):
        wrong.append(f"weights differ by up to {_largest(one.weight() - other.weight()):.3g}")
    if device.seedable:
        for synapse in (one, other):
            _work(synapse, streams)
        if not torch.equal(one.weight(), other.weight()):
            wrong.append("the same updates after loading lead elsewhere")
        x = _inputs(3, SHAPE[1], streams)
        if not torch.equal(one.read(x), other.read(x)):
            wrong.append("the reads after loading differ")
    try:
        other.load_state_dict({"nonsense": torch.zeros(1)})
        wrong.append("a state with other entries is accepted")
    except ValueError:
        pass
    future = "and the future" if device.seedable else "(no more is promised: not seedable)"
    return _check("state", wrong, f"the weights {future} come back", "a state that restores the array; others refused")


def drift(device: Device, streams: Streams, gap: float) -> Check:
    """``age(t)`` is the state t seconds after programming, however often and in whatever order it is asked for."""
    del gap
    synapse = _programmed(device, streams)
    expected = "age(t) depends on t alone; ValueError for t < 0"
    if not device.drifts:
        return Check("drift", True, "does not drift", expected)
    if not isinstance(synapse, Ages):
        return Check("drift", False, "drifts is True, and arrays have no age(seconds)", expected)
    inner = innermost_device(device)
    known = inner.ages_s if isinstance(inner, KnownAges) else ()
    early, late = (known[0], known[-1]) if known else _AGES_S
    seen = []
    for seconds in (early, late, late, early):
        synapse.age(seconds)
        seen.append(synapse.weight())
    wrong = [] if torch.equal(seen[1], seen[2]) else ["ageing twice to the same time gives two states"]
    if not torch.equal(seen[0], seen[3]):
        wrong.append("the state depends on what was asked for before")
    try:
        synapse.age(-1.0)
        wrong.append("a negative time is accepted")
    except ValueError:
        pass
    moved = float((seen[1] - seen[0]).norm() / seen[0].norm())
    return _check("drift", wrong, f"weights move by {moved:.1%} from {early:g} s to {late:g} s", expected)


CHECKS: dict[str, CheckFunction] = {
    "shapes": shapes,
    "determinism": determinism,
    "reads repeat": reads_repeat,
    "mean of reads": read_mean,
    "adjointness": adjointness,
    "gradient": gradient,
    "update direction": update_direction,
    "bounds": bounds,
    "programming": programming,
    "state": state,
    "drift": drift,
}


def _counted(count: int, vectors: int, synapse: Synapse) -> bool:
    """Is each vector counted, once for every array of the layer that it is sent to? Of twins, one is read."""
    return vectors <= count <= vectors * layout(synapse).tiles and count % vectors == 0


def _check(name: str, wrong: list[str], found: str, expected: str) -> Check:
    return Check(name, not wrong, "; ".join(wrong) or found, expected)


def _near(name: str, found: Tensor, wanted: Tensor, error: float, gap: float, what: str) -> Check:
    """Is the estimate within ``gap`` of ``wanted``, beyond the ``error`` of each of its entries?"""
    size = float(wanted.norm())
    apart = float((found - wanted).norm()) / size
    chance = error * (math.sqrt(wanted.numel()) + _SIGMAS) / size
    expected = f"{what} within {gap + chance:.3f} ({gap:g} and {chance:.3f} of chance)"
    return Check(name, apart <= gap + chance, f"relative gap {apart:.3f}", expected)


def _target(streams: Streams) -> Tensor:
    """Weights that any device should be able to hold, uniform within 0.3."""
    return (torch.rand(SHAPE, generator=streams.generator("init")) - 0.5) * 0.6


def _programmed(device: Device, streams: Streams) -> Synapse:
    synapse = device.synapse(*SHAPE, streams)
    synapse.program(_target(streams))
    return synapse


def _inputs(batch: int, lines: int, streams: Streams) -> Tensor:
    return torch.rand(batch, lines, generator=streams.generator("data")) * 2 - 1


def _signs(lines: int, streams: Streams) -> Tensor:
    """(1, lines): as many +1 as -1, in random order; orthogonal to whatever moves all weights alike."""
    order = torch.randperm(lines, generator=streams.generator("data"))
    return (1.0 - 2.0 * (order % 2))[None]


def _work(synapse: Synapse, streams: Streams) -> None:
    pre, post = _inputs(4, SHAPE[1], streams), _inputs(4, SHAPE[0], streams)
    for _ in range(5):
        synapse.update(pre, post, 0.01)
        synapse.tick()


def _life(device: Device, streams: Streams) -> Tensor:
    """All that an array shows after programming, updates and reads."""
    synapse = _programmed(device, streams)
    _work(synapse, streams)
    reads = synapse.read(_inputs(3, SHAPE[1], streams)), synapse.read_transpose(_inputs(3, SHAPE[0], streams))
    shown = [synapse.weight(), *(reads if device.seedable else ())]
    return torch.cat([value.flatten() for value in shown])


def _estimated(read: Callable[[Tensor], Tensor], lines: int, streams: Streams) -> tuple[Tensor, float]:
    """The matrix that a direction reads, by least squares over random inputs, and the standard error of its entries."""
    x = _inputs(_READS, lines, streams)
    y = read(x)
    solution = torch.linalg.lstsq(x.to(y.dtype), y).solution
    residual = float((y - x.to(y.dtype) @ solution).std())
    return solution.T, residual / math.sqrt(_READS) / float(x.std())


def _refused(synapse: Synapse, weight: Tensor) -> bool:
    try:
        synapse.program(weight)
    except ValueError:
        return True
    return False


def _cosine(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum() / (a.norm() * b.norm()).clamp_min(1e-30))


def _largest(value: Tensor) -> float:
    return float(value.abs().max())
