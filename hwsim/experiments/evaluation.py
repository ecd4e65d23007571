"""What a model card asks to measure, on one network: images under a condition, their classes, their relaxation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from hwsim.cards.model import EvaluationConfig, InferenceConfig
from hwsim.data.dataset import Dataset
from hwsim.ebm.inference import infer
from hwsim.ebm.network import Network
from hwsim.ebm.settle import SOLVERS, OddEven, Outcome, Phase, settle
from hwsim.learning.equilibrium_gradients import Implicit
from hwsim.rng import Streams
from hwsim.robustness.attacks import pgd
from hwsim.robustness.classifier import EquilibriumClassifier
from hwsim.robustness.corruptions.condition import CLEAN, Condition, corrupted
from hwsim.robustness.corruptions.corruptions import check_corruptible
from hwsim.robustness.measure import BATCH, Measured
from hwsim.robustness.measure import measure as classify
from hwsim.robustness.threat import Threat

ATTACK_TOLERANCE = 1e-4
"""Largest move of a unit in a step at which the attacker's copy counts as settled."""


def conditions(config: EvaluationConfig) -> list[Condition]:
    """The columns that an evaluation asks for, clean first."""
    columns = [CLEAN]
    columns += [Condition("input-noise", sigma, "sigma") for sigma in config.input_noise.sigma]
    for name in config.corruptions.types:
        columns += [Condition(name, severity, "severity") for severity in config.corruptions.severities]
    columns += [Condition(f"pgd-{config.pgd.norm}", epsilon, "epsilon") for epsilon in config.pgd.epsilon]
    return columns


def check_conditions(config: EvaluationConfig, images: Dataset) -> None:
    """InputError where the corruptions that an evaluation asks for cannot be made of these images."""
    if config.corruptions.types:
        where = f"evaluation.corruptions.types on {images.name} ([] does without)"
        check_corruptible(images.shape, where)


def perturbed(
    net: Network, condition: Condition, x: Tensor, labels: Tensor, config: EvaluationConfig, streams: Streams
) -> Tensor:
    """The test images under a condition, attacks among them, x (N, C, H, W) in [0, 1].

    Attacks know the weights that the arrays hold: the gradient is the implicit one at the settled
    state of the network's noise-free twin. The images are then measured on the arrays themselves.
    """
    if condition.kind != "attack":
        return corrupted(x, condition, streams)
    steps = Phase(200, tolerance=ATTACK_TOLERANCE, stop_early=True)
    through = Implicit(phase=steps, adjoint=steps, solver=OddEven())
    twin = EquilibriumClassifier(net.float_twin(), OddEven(), steps, through)
    threat = Threat(config.pgd.norm, condition.level)
    rng = streams.generator("attack")
    parts = zip(x.split(BATCH), labels.split(BATCH), strict=True)
    # The margin, not the cross-entropy: against the twin of a noisy array it leaves points less standing.
    return torch.cat([pgd(twin, some, y, threat, steps=config.pgd.steps, rng=rng, loss="margin") for some, y in parts])


def measure(
    net: Network, x: Tensor, labels: Tensor, inference: InferenceConfig, draws: int, streams: Streams
) -> Measured:
    """Classify ``x`` with fresh read noise in every draw; one draw where nothing is noisy."""
    net.reseed_reads(streams)
    return classify([EquilibriumClassifier(net, **relaxation(inference))], x, labels, draws)


def relaxation(inference: InferenceConfig) -> dict:
    """The keyword arguments of ``infer`` that a model card's inference section stands for."""
    return {
        "solver": SOLVERS[inference.solver](inference.damping),
        "phase": Phase(inference.steps, inference.average_last, inference.tolerance, inference.stop_early),
        "hold_input": inference.hold_input,
    }


@dataclass(frozen=True)
class Relaxation:
    """One batch's way to equilibrium from its start.

    Attributes:
        energy: mean energy after each step, of the noise-free twin at the states that the arrays went through.
        residual: mean over the batch of the largest change of a unit in each step.
        steps_mean: steps until a unit last moved by more than the tolerance, mean over the examples that
            settled; None where none did (read noise keeps every one moving).
        unsettled_share, noise_floor_share: of the examples, at the end.
    """

    energy: list[float]
    residual: list[float]
    steps_mean: float | None
    unsettled_share: float
    noise_floor_share: float


def relaxed(net: Network, x: Tensor, inference: InferenceConfig, streams: Streams) -> Relaxation:
    """Watch the relaxation behind a prediction of ``x``, step by step."""
    net.reseed_reads(streams)
    exact = net.float_twin().given(x)
    given = net.given(x, hold=inference.hold_input)
    energy, residual, last = [], [], [given.start()]
    moved_at = torch.zeros(len(x), dtype=torch.long, device=x.device)

    def watch(step: int, s: tuple[Tensor, ...]) -> None:
        change = torch.stack([(a - b).abs().flatten(1).amax(1) for a, b in zip(s, last[0], strict=True)]).amax(0)
        moved_at[change > inference.tolerance] = step
        energy.append(exact.value(s).mean().item())
        residual.append(change.mean().item())
        last[0] = s

    kind = relaxation(inference)
    settled = settle(given, last[0], solver=kind["solver"], phase=kind["phase"], watch=watch)
    reached = moved_at[settled.outcome == int(Outcome.SETTLED)]
    return Relaxation(
        energy,
        residual,
        reached.double().mean().item() if len(reached) else None,
        settled.unsettled_share,
        settled.share(Outcome.NOISE_FLOOR),
    )


def saturation(net: Network, x: Tensor, inference: InferenceConfig, streams: Streams) -> Iterator[float]:
    """The share of conversions at their converter's bound while ``x`` is classified, array by array."""
    net.reseed_reads(streams)
    for synapse in net.synapses:
        synapse.meter.reset()
        synapse.meter.count_saturation = True
    infer(net, x, **relaxation(inference))
    for synapse in net.synapses:
        synapse.meter.count_saturation = False
        yield synapse.meter.saturated_share


MAX_UNSETTLED_SHARE = 0.05
"""Share of examples still moving when read. Above it an accuracy is that of a truncated network."""
