"""Settings that make a run take a second."""

from __future__ import annotations

SMALL = [
    "network.layers=[64, 12, 10]",
    "learning.epochs=2",
    "in_situ.epochs=2",
    "inference.steps=8",
    "inference.average_last=2",
    "evaluation.draws=2",
    "evaluation.examples=60",
    "evaluation.input_noise.sigma=[0.1]",
    "evaluation.corruptions.types=[contrast]",
    "evaluation.corruptions.severities=[3]",
    "evaluation.pgd.epsilon=[0.1]",
    "evaluation.pgd.steps=2",
]


def small(*more: str) -> list[str]:
    """The ``--set`` arguments of a tiny run, with more laid over them."""
    return [part for setting in (*SMALL, *more) for part in ("--set", setting)]
