"""A training with a checkpoint after every epoch: stopped anywhere, it goes on.

What a resumed training repeats exactly is what the device's state can hold: everything for float and python cells, see
``AihwDevice.not_exact`` for tiles.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hwsim.cards.recipe import AugmentConfig, LearningSection
from hwsim.data.dataset import augment
from hwsim.jobs.checkpoint import load_state, save_state
from hwsim.learning.train import Augment, Learner, train_epochs
from hwsim.rng import Streams

EpochRecord = dict[str, Any]
"""An epoch as a record of ``metrics.jsonl``: the fields of ``Epoch``, and ``seconds`` of wall time."""


def train(
    learner: Learner,
    config: LearningSection,
    x: Tensor,
    labels: Tensor,
    streams: Streams,
    checkpoint: Path,
    on_epoch: Callable[[EpochRecord], None],
) -> None:
    """Train in place, from the checkpoint where there is one.

    Args:
        learner: freshly built; begins with initial weights unless the checkpoint says more.
        x, labels: (N, ...) and (N,) training examples, where the learner computes.
        checkpoint: a safetensors file, replaced as a whole after every epoch.
        on_epoch: gets each finished epoch; epochs that the checkpoint holds are left out. The last one may come twice
            where a run died before its checkpoint was written.

    Raises WorkError when the training diverges, naming the epoch and what to try.
    """
    if checkpoint.exists():
        done = load_state(learner, checkpoint)
    else:
        done = 0
        learner.begin(streams)
        save_state(learner, checkpoint, 0)
    started = time.perf_counter()
    for epoch in train_epochs(learner, config, x, labels, streams, done=done, augment=_augmented(config.augment)):
        # Recorded before it is kept: after a crash in between, the epoch is run and recorded again, never lost.
        on_epoch({**asdict(epoch), "seconds": time.perf_counter() - started})
        save_state(learner, checkpoint, epoch.epoch)
        started = time.perf_counter()


def _augmented(config: AugmentConfig) -> Augment | None:
    if not (config.flip or config.crop_padding):
        return None

    def change(images: Tensor, rng: torch.Generator) -> Tensor:
        return augment(images, rng, **config.model_dump())

    return change
