"""Feed-forward torch modules that model cards name: built with seeded weights and checked before they are used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from hwsim.cards.build import normalisation
from hwsim.cards.network import ModuleConfig
from hwsim.cards.plugins import plugin
from hwsim.errors import InputError
from hwsim.rng import Streams
from hwsim.robustness.classifier import TorchClassifier

GROUP = "hwsim.modules"
"""The entry-point group of modules that installed packages bring."""


def build(config: ModuleConfig, streams: Streams) -> torch.nn.Module:
    """The module of a card, with initial weights from the stream "init".

    Raises InputError, at the place in the card, for a file or name that is not there, parameters that it does not
    take, and a module that does not give ``classes`` scores for images of the card's shape.
    """
    document, folder = config.home
    factory = plugin(config.module, folder, GROUP, document, ("network", "module"))
    try:
        with seeded(streams.seed_of("init")):
            module = factory(tuple(config.image), config.classes, **config.parameters)
    except TypeError as error:
        raise document.error(("network", "parameters"), f"{config.module} does not take these ({error})") from error
    except (Exception, SystemExit) as error:  # anything may go wrong in somebody else's class
        raise document.error(("network",), f"{config.module} cannot be made ({_summary(error)})") from error
    if not isinstance(module, torch.nn.Module):
        made = type(module).__name__
        raise document.error(("network", "module"), f"{config.module} makes a {made}; expected a torch.nn.Module")
    _check(config, module)
    return module


def classifier(config: ModuleConfig, module: torch.nn.Module) -> TorchClassifier:
    """The module as a classifier of images in [0, 1], in evaluation mode."""
    return TorchClassifier(module.eval(), config.classes, prepare=normalisation(config.normalise))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's own generators start at ``seed`` inside, for code that takes none, and are as before afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def _check(config: ModuleConfig, module: torch.nn.Module) -> None:
    document, shape = config.home[0], (2, *config.image)
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            scores = module(torch.zeros(shape))
    except (Exception, SystemExit) as error:  # anything may go wrong in somebody else's class
        raise document.error(("network",), f"{config.module} fails on images of {shape} ({_summary(error)})") from error
    finally:
        module.train(training)
    if not isinstance(scores, Tensor) or tuple(scores.shape) != (2, config.classes):
        given = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        expected = (2, config.classes)
        raise document.error(("network",), f"{config.module} gives {given} for two images; expected scores {expected}")


def _summary(error: BaseException) -> str:
    if isinstance(error, InputError):
        return str(error)
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
