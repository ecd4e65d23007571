"""A training that can be kept after every epoch: stopped anywhere, it goes on.

What a resumed training repeats exactly is what the device's state can hold: everything for float and python cells, see
``AihwDevice.not_exact`` for tiles.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from hwsim.cards.recipe import AugmentConfig, LearningSection
from hwsim.data.dataset import augment
from hwsim.data.split import Split
from hwsim.jobs.checkpoint import load_state, save_state
from hwsim.learning.train import Augment, Epoch, Learner, train_epochs
from hwsim.rng import Streams

OnEpoch = Callable[[Epoch, float], None]
"""Gets each finished epoch and the seconds that it took."""


def train(
    learner: Learner,
    recipe: LearningSection,
    examples: Split,
    streams: Streams,
    *,
    checkpoint: Path | None = None,
    on_epoch: OnEpoch | None = None,
) -> None:
    """Train in place, from the checkpoint where there is one.

    Args:
        learner: freshly built; begins with initial weights unless the checkpoint says more.
        examples: to learn from, where the learner computes.
        checkpoint: a safetensors file, replaced as a whole after every epoch; None keeps nothing.
        on_epoch: gets each finished epoch; epochs that the checkpoint holds are left out. The last one may come twice
            where a run died before its checkpoint was written.

    Ends early where the recipe says at which training accuracy.

    Raises WorkError when the training diverges, naming the epoch and what to try.
    """
    done = 0
    if checkpoint is not None and checkpoint.exists():
        done = load_state(learner, checkpoint)
    else:
        learner.begin(streams)
        _keep(learner, checkpoint, 0)
    started = time.perf_counter()
    for epoch in train_epochs(
        learner, recipe, examples.x, examples.y, streams, done=done, augment=_augmented(recipe.augment)
    ):
        # Recorded before it is kept: after a crash in between, the epoch is run and recorded again, never lost.
        if on_epoch is not None:
            on_epoch(epoch, time.perf_counter() - started)
        stopped = epoch.accuracy_train >= (recipe.stop_at_training_accuracy or math.inf)
        # A training that has stopped is over: whoever takes it up again finds all its epochs done.
        _keep(learner, checkpoint, recipe.epochs if stopped else epoch.epoch)
        if stopped:
            return
        started = time.perf_counter()


def _keep(learner: Learner, checkpoint: Path | None, epoch: int) -> None:
    if checkpoint is not None:
        save_state(learner, checkpoint, epoch)


def _augmented(config: AugmentConfig) -> Augment | None:
    if not (config.flip or config.crop_padding):
        return None

    def change(images: Tensor, rng: torch.Generator) -> Tensor:
        return augment(images, rng, **config.model_dump())

    return change
