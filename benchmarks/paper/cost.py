"""How many multiply-accumulates a point of the paper study and a training need, so that their time is told before.

One forward pass, or one relaxation step, is counted by torch's own counter on the model itself; how many of them an
attack takes follows from its settings. Two shares of it are rough: how far relaxations go that stop when settled, and
how many images attacks go on with that stop at fooled ones.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from hwsim.cards import modules
from hwsim.cards.model import ModelConfig
from hwsim.cards.network import ModuleConfig
from hwsim.cards.recipe import LearningConfig
from hwsim.ebm.settle import Phase
from hwsim.experiments.training.learners import classifier_of
from hwsim.rng import Streams

from .protocol import EFFORTS, protocol_named

EARLY = 1 / 3
"""Share of the allowed steps that a relaxation which stops when settled is counted with."""

STANDING = 0.4
"""Share of the steps that an attack is counted with which leaves fooled images alone."""

BACKWARD = 2.0
"""A backward pass to the images and the weights, in forward passes; to the images alone half of it."""

TRAIN_IMAGES = 45_000
"""Of CIFAR, a tenth being held out."""


def work_of(config: ModelConfig, options: dict[str, Any], examples: int) -> float:
    """Multiply-accumulates of a point, roughly."""
    one, gradient = _prediction(config), _gradient(config, options)
    each, queries = 0.0, 1.0
    steps, restarts = options["steps"], options["restarts"]
    protocol = protocol_named(options["protocol"])
    if options["measure"] == "corruption":
        queries = 5
    elif options["measure"] == "square":
        queries += STANDING * options["queries"]
    elif options["measure"] == "pgd":
        each = steps * (1 + restarts * protocol.restarts) * (STANDING if protocol.best else 1)
        queries += each * protocol.best
    elif options["measure"] == "autoattack":
        apgd, targets, square, fab = EFFORTS[options["effort"]]
        each = STANDING * apgd * ((1 + targets + 2 * targets * fab) if protocol.true_labels else 2)
        queries += STANDING * square + each
    return examples * (queries * one + each * gradient)


def training_work(config: ModelConfig) -> float:
    """Multiply-accumulates of a model's training."""
    recipe, forward = config.learning, _forward(config)
    images = recipe.epochs * TRAIN_IMAGES
    if not isinstance(recipe, LearningConfig):
        moved = recipe.adversarial.steps * (1 + BACKWARD / 2) if recipe.adversarial else 0
        return images * forward * (1 + BACKWARD + moved)
    steps = recipe.free_steps * (EARLY if recipe.stop_early else 1.0)
    if recipe.rule == "exact-gradient":
        return images * forward * 3 * steps
    nudged = recipe.nudged_steps * (EARLY if recipe.stop_early else 1.0)
    return images * forward * (steps + 2 * nudged + BACKWARD / 2)


def _prediction(config: ModelConfig) -> float:
    if isinstance(config.network, ModuleConfig):
        return _forward(config)
    inference = config.inference
    return _forward(config) * inference.steps * (EARLY if inference.stop_early else 1.0)


def _gradient(config: ModelConfig, options: dict[str, Any]) -> float:
    """Of an input gradient: a prediction or a number of unrolled steps, and as much again for the way back."""
    if isinstance(config.network, ModuleConfig):
        return _forward(config) * (1 + BACKWARD / 2)
    kind, _, number = str(options["truncated"]).partition("-")
    if not protocol_named(options["protocol"]).at_equilibrium and kind == "unrolled":
        return _forward(config) * int(number) * (1 + BACKWARD / 2)
    return _prediction(config) * (1 + BACKWARD / 2)


_FORWARD: dict[str, float] = {}
"""What was counted, by the network's configuration."""


def _forward(config: ModelConfig) -> float:
    """Of a module's forward pass or of one step of a relaxation, an image."""
    text = config.network.model_dump_json()
    if text not in _FORWARD:
        _FORWARD[text] = _counted(config)
    return _FORWARD[text]


def _counted(config: ModelConfig) -> float:
    if isinstance(config.network, ModuleConfig):
        module = modules.build(config.network, Streams(0)).eval()
        # With gradients: attention's fused inference pass is not counted.
        with torch.enable_grad(), FlopCounterMode(display=False) as counter:
            module(torch.zeros(1, *config.network.image))
        return counter.get_total_flops() / 2
    judge: Any = classifier_of(config)
    image = torch.full((1, *judge.net.links[0].pre_shape), 0.5)
    found = []
    for steps in (2, 3):
        with FlopCounterMode(display=False) as counter:
            dataclasses.replace(judge, phase=Phase(steps)).logits(image)
        found.append(counter.get_total_flops() / 2)
    return found[1] - found[0]
