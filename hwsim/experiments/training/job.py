"""A training: what a user typed, resolved and validated before any work."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from hwsim.cards.device import read_device
from hwsim.cards.model import ModelConfig, require_energy
from hwsim.cards.read import DEFAULT_MODEL, check_fit, check_no_run, in_situ_recipe, parted, read_model
from hwsim.cards.recipe import LearningSection
from hwsim.cards.size import check_batch
from hwsim.crossbar.exact import FloatDevice
from hwsim.data import dataset as data
from hwsim.data.dataset import Dataset
from hwsim.errors import InputError
from hwsim.experiments.requests import TrainRequest
from hwsim.experiments.training.learners import Model, model_of
from hwsim.jobs.job import Job
from hwsim.jobs.place import CPU, check_place
from hwsim.jobs.weights import WEIGHTS
from hwsim.rng import Streams


@dataclass(frozen=True, kw_only=True)
class TrainJob(Job):
    """A resolved training. ``device`` None: exact arithmetic with the recipe's momentum and weight decay.

    ``place`` is the torch device that computes; it is no part of the configuration, a training may go on elsewhere.
    ``settings`` is what was typed over the cards, for whoever has to resolve the same job again.
    ``given`` is the model that holds the best weights already, where it is in this process.
    """

    kind = "train"
    model: ModelConfig
    recipe: LearningSection
    data: Dataset
    place: str = CPU
    settings: tuple[str, ...] = ()
    given: Model | None = field(default=None, compare=False, repr=False)

    @cached_property
    def best(self) -> Model:
        """The model with the best epoch's weights: the one that was ``given``, or in float from the job's folder."""
        if self.given is not None:
            return self.given
        model = model_of(self.model, self.recipe, FloatDevice(place=self.place), Streams(self.seed), self.place)
        model.load_weights(self.folder / WEIGHTS)
        return model

    @property
    def resolved(self) -> dict[str, Any]:
        sizes = {part: len(split) for part, split in self.data.splits.items()}
        return {
            "model": self.model.model_dump(include={"name", "network", "inference"}),
            "learning": self.recipe.model_dump(),
            "device": self.resolved_device,
            "data": {"name": self.data.name, **sizes},
            "seed": self.seed,
        }

    @property
    def label(self) -> str:
        return f"train-{self.model.name}-{self.device_name}-seed{self.seed}"


def plan_training(request: TrainRequest) -> TrainJob:
    """Resolve a training: in float by the model's ``learning``, on a device by its in-situ recipe."""
    device = request.device
    check_place(request.accelerator, device is not None)
    for_device, for_model = parted(request.settings)
    if for_device and device is None:
        raise InputError(f"--set device.{for_device[0][0]}: there is no device to set it on; give --device")
    card = read_device(device, for_device) if device else None
    document, config = read_model(request.model or DEFAULT_MODEL, for_model)
    if card:
        require_energy(config)  # modules have no arrays
    dataset = data.load(request.data or config.data, request.data_dir)
    check_fit(document, config, dataset)
    check_no_run(for_model)
    recipe = in_situ_recipe(document, config, card) if card else config.learning
    section = "in_situ" if card else "learning"
    if recipe.precision != "float32" and card:
        raise document.error((section, "precision"), "acts on float alone; devices are computed as they are")
    if recipe.precision == "tf32" and request.accelerator == CPU:
        raise document.error((section, "precision"), "tf32 is computed by NVIDIA's GPUs alone; give --accelerator cuda")
    check_batch(document, section, recipe.batch_size, len(dataset.train))
    return TrainJob(
        model=config,
        recipe=recipe,
        device=card,
        data=dataset,
        seed=request.seed,
        place=request.accelerator,
        settings=tuple(request.settings),
        out=request.out,
        command=request.command,
        again=partial(plan_training, request),
    )
