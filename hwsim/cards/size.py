"""What a network would take of the machine's memory, reckoned before anything of it is built."""

from __future__ import annotations

import math
import os

import torch

from hwsim.cards.build import network
from hwsim.cards.model import ModelConfig
from hwsim.cards.network import ModuleConfig, VectorConfig
from hwsim.cards.yamlfile import Document
from hwsim.crossbar.exact import FloatDevice
from hwsim.rng import Streams

COPIES = 4
"""Of the weights: themselves, an update, what a learner remembers, what is being written to the disk."""

STATES = 8
"""Of the units of a batch: the states of a contrast, its drives, and what they are made of."""


def memory_bytes() -> int:
    """What this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_size(document: Document, config: ModelConfig) -> None:
    """InputError, at the place in the card, where a network's weights or a batch's states would not fit in memory."""
    if isinstance(config.network, ModuleConfig):
        return
    layers = "layers" if "layers" in document.section("network") else "dense"
    try:
        net = network(config.network, FloatDevice(place="meta"), Streams(0), place="meta")
        image = (config.network.pixels,) if isinstance(config.network, VectorConfig) else config.network.image
        states = net.initial(torch.empty(1, *image, device="meta"))
    except (RuntimeError, OverflowError, TypeError) as error:  # TypeError: of numbers that torch cannot take
        raise document.error(("network", layers), "is too large for any machine; make it smaller") from error
    weights = sum(math.prod(synapse.shape) for synapse in net.synapses)
    units, batch = sum(state.numel() for state in states), config.learning.batch_size
    for keys, what, numbers in (
        (("network", layers), f"a network of {weights:.3g} weights", COPIES * weights),
        (("learning", "batch_size"), f"a batch of {batch:.3g} images, {units:.3g} units each,", STATES * units * batch),
    ):
        if 4 * numbers > memory_bytes():
            taken, there = (f"{size / 2**30:.3g} GiB" for size in (4 * numbers, memory_bytes()))
            raise document.error(keys, f"{what} takes about {taken}, and this machine has {there}; make it smaller")


def check_batch(document: Document, section: str, batch_size: int, images: int) -> None:
    """InputError where a batch would be larger than all that there is to learn from."""
    if batch_size > images:
        home = section if "batch_size" in document.section(section) else "learning"
        raise document.error((home, "batch_size"), f"expected at most {images}, the training images, got {batch_size}")
