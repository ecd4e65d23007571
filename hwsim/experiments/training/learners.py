"""The two things that are trained: an energy-based network by its rule, a feed-forward module by backpropagation.

Both have one face, ``Model``: the training loop steps it, validation and the card measure it, files keep its weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from hwsim.cards import modules
from hwsim.cards.build import COSTS, adversary, layer_names, learning_rule, network
from hwsim.cards.model import InferenceConfig, ModelConfig
from hwsim.cards.network import EnergyConfig, ModuleConfig
from hwsim.cards.recipe import BackpropConfig, LearningConfig
from hwsim.crossbar.exact import FloatDevice
from hwsim.crossbar.reduced import reduced
from hwsim.crossbar.synapse import Device, Synapse
from hwsim.ebm.look import fetched
from hwsim.ebm.network import Network
from hwsim.ebm.spectrum import measured_factor
from hwsim.experiments.evaluation import measure, relaxation, relaxed
from hwsim.jobs.weights import load_weights, save_weights
from hwsim.learning.ep import Contrastive
from hwsim.learning.graph import Graphed
from hwsim.learning.rule import LearningRule, StepStats
from hwsim.learning.train import Learner, NetworkLearner
from hwsim.rng import Streams
from hwsim.robustness.classifier import EquilibriumClassifier, TorchClassifier
from hwsim.robustness.measure import Measured
from hwsim.robustness.measure import measure as classify

WATCHED = 64
"""Validation images whose relaxation is followed after every epoch."""


MEASURED_EVERY, MEASURED_ON = 64, 8
"""Steps after which the factor of over-relaxed sweeps is measured again, and on how many images of the batch."""


class Model(Learner, Protocol):
    """A learner that can be measured and kept."""

    def measure(self, x: Tensor, labels: Tensor, draws: int, streams: Streams) -> Measured:
        """Hits of each image and how its relaxation ended."""
        ...

    def figures(self, x: Tensor, streams: Streams) -> dict[str, Any]:
        """What an epoch's record says beside accuracy."""
        ...

    def save_weights(self, path: Path) -> None: ...

    def load_weights(self, path: Path) -> None: ...

    @property
    def weights(self) -> int:
        """How many numbers are learned."""
        ...


class EquilibriumModel(NetworkLearner):
    """An energy-based network that learns by a rule and predicts at equilibrium."""

    def __init__(
        self,
        net: Network,
        config: EnergyConfig,
        recipe: LearningConfig,
        inference: InferenceConfig,
        start: Sequence[Tensor] | None = None,
    ) -> None:
        super().__init__(net, _rule_of(recipe), recipe.rates, COSTS[config.cost], config.init_gain, start)
        self.inference = inference
        self._recipe, self._factor, self._steps = recipe, 1.0, 0
        self._read = net.mapped(reduced) if recipe.precision == "bf16" else net
        """What the phases of learning read; it shares its weights with ``net``, which predicts."""

    def step(self, x: Tensor, labels: Tensor, factor: float, rng: torch.Generator) -> StepStats:
        if self._recipe.damping == "auto":
            if self._steps % MEASURED_EVERY == 0:
                self._sweep_by(measured_factor(self.net, x[:MEASURED_ON], self._factor))
            self._steps += 1
        return self._rule.step(self._read, self._cost, x, labels, [rate * factor for rate in self._rates], rng)

    def _sweep_by(self, factor: float) -> None:
        """Relax by over-relaxed sweeps with this factor from now on."""
        self._factor, self._rule = factor, _rule_of(self._recipe, factor)

    def state_dict(self) -> dict[str, Tensor]:
        """What the arrays remember; where damping is auto, its factor and the steps taken, too."""
        state = super().state_dict()
        if self._recipe.damping == "auto":
            state["over_relaxation"] = torch.tensor([self._factor, self._steps], dtype=torch.float64)
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        kept = state.get("over_relaxation")
        super().load_state_dict({key: tensor for key, tensor in state.items() if key != "over_relaxation"})
        if kept is not None:
            factor, steps = kept.tolist()
            self._steps = int(steps)
            self._sweep_by(factor)

    @property
    def weights(self) -> int:
        return sum(synapse.shape[0] * synapse.shape[1] for synapse in self.synapses)

    def measure(self, x: Tensor, labels: Tensor, draws: int, streams: Streams) -> Measured:
        return measure(self.net, x, labels, self.inference, draws, streams)

    def figures(self, x: Tensor, streams: Streams) -> dict[str, Any]:
        """Mean energy at the end of inference and mean steps until it, of the first images."""
        way = relaxed(self.net, x[:WATCHED], self.inference, streams)
        return {"energy": way.energy[-1], "settle_steps": way.steps_mean}

    def save_weights(self, path: Path) -> None:
        save_weights(self.net, path)

    def load_weights(self, path: Path) -> None:
        load_weights(self.net, path)


def _rule_of(recipe: LearningConfig, factor: float = 1.0) -> LearningRule:
    """The recipe's rule, as a graph where that is asked for."""
    rule = learning_rule(recipe, factor)
    return Graphed(rule) if recipe.graph and isinstance(rule, Contrastive) else rule


class ModuleModel:
    """A torch module that learns by backpropagation of the cross-entropy or the squared error.

    All that its own code draws from torch's generators (dropout) is seeded for each step, so that a training that
    was stopped goes on bit for bit.
    """

    def __init__(self, config: ModuleConfig, recipe: BackpropConfig, streams: Streams, place: str = "cpu") -> None:
        self.module = modules.build(config, streams).to(place)
        self.classifier = modules.classifier(config, self.module)
        self._cost, self._smoothing = COSTS[recipe.cost], recipe.label_smoothing
        self._rate = recipe.rate
        if recipe.optimiser == "adamw":
            self._optimiser: torch.optim.Optimizer = torch.optim.AdamW(
                self.module.parameters(), recipe.rate, weight_decay=recipe.weight_decay
            )
        else:
            self._optimiser = torch.optim.SGD(
                self.module.parameters(), recipe.rate, recipe.momentum, weight_decay=recipe.weight_decay
            )
        self._adversary = adversary(recipe.adversarial) if recipe.adversarial else None
        self._share = recipe.adversarial.share if recipe.adversarial else 0.0

    synapses: Sequence[Synapse] = ()

    @property
    def weights(self) -> int:
        return sum(parameter.numel() for parameter in self.module.parameters())

    def begin(self, streams: Streams) -> None:
        """Nothing to do: the module was built with its initial weights."""

    def step(self, x: Tensor, labels: Tensor, factor: float, rng: torch.Generator) -> StepStats:
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate * factor
        with modules.seeded(int(torch.randint(2**62, (), generator=rng))):
            x = self._moved(x, labels, rng)
            self.module.train()
            prepare = self.classifier.prepare
            logits = self.module(x if prepare is None else prepare(x))
            target = self._cost.encode(labels, logits)
            target = (1 - self._smoothing) * target + self._smoothing / target.shape[1]
            cost = self._cost.value(logits, target).mean()
            self._optimiser.zero_grad()
            cost.backward()
            self._optimiser.step()
        hits = (logits.detach().argmax(1) == labels).sum()
        return StepStats(fetched(cost.detach()), fetched(hits), len(x), 0.0, 0.0)

    def _moved(self, x: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        """The batch, its first images moved against the module as it predicts: BatchNorm's averages stay out of it."""
        count = round(self._share * len(x))
        if self._adversary is None or not count:
            return x
        threat, attack = self._adversary
        self.module.eval()
        return torch.cat([attack(self.classifier, x[:count], labels[:count], threat, rng), x[count:]])

    def state_dict(self) -> dict[str, Tensor]:
        state = {f"module.{name}": tensor.clone() for name, tensor in self.module.state_dict().items()}
        for index, entries in self._optimiser.state_dict()["state"].items():
            state |= {f"optimiser.{index}.{k}": v.clone() for k, v in entries.items() if isinstance(v, Tensor)}
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        parts: dict[str, dict[str, Tensor]] = {"module": {}, "optimiser": {}}
        for key, tensor in state.items():
            part, _, name = key.partition(".")
            parts[part][name] = tensor
        self.module.load_state_dict(parts["module"])
        entries: dict[int, dict[str, Tensor]] = {}
        for key, tensor in parts["optimiser"].items():
            index, _, name = key.partition(".")
            entries.setdefault(int(index), {})[name] = tensor
        self._optimiser.load_state_dict({**self._optimiser.state_dict(), "state": entries})

    def measure(self, x: Tensor, labels: Tensor, draws: int, streams: Streams) -> Measured:
        """One draw: in evaluation mode modules draw nothing, and have nothing to settle."""
        del draws, streams
        self.module.eval()
        return classify([self.classifier], x, labels)

    def figures(self, x: Tensor, streams: Streams) -> dict[str, Any]:
        del x, streams
        return {}

    def save_weights(self, path: Path) -> None:
        save_weights(self.module, path)

    def load_weights(self, path: Path) -> None:
        load_weights(self.module, path)


def model_of(
    config: ModelConfig,
    recipe: LearningConfig | BackpropConfig,
    device: Device | Sequence[Device],
    streams: Streams,
    place: str = "cpu",
) -> EquilibriumModel | ModuleModel:
    """What a card and a recipe describe, ready to be trained; ``device`` holds the arrays of a network."""
    if isinstance(config.network, ModuleConfig):
        assert isinstance(recipe, BackpropConfig)  # read_model has seen to it
        return ModuleModel(config.network, recipe, streams, place)
    assert isinstance(recipe, LearningConfig)
    net = network(config.network, device, streams, momentum=recipe.momentum, place=place)
    return EquilibriumModel(net, config.network, recipe, config.inference)


def described(config: ModelConfig) -> dict[str, Any]:
    """A card with all its defaults, and the shape of every array or parameter of the model."""
    model = model_of(config, config.learning, FloatDevice(), Streams(0))
    if isinstance(model, EquilibriumModel):
        shapes = {n: tuple(s.shape) for n, s in zip(layer_names(model.net), model.synapses, strict=True)}
    else:
        shapes = {name: tuple(parameter.shape) for name, parameter in model.module.named_parameters()}
    return {
        **config.model_dump(),
        "weights": {"count": model.weights, "shapes": {n: " x ".join(map(str, shape)) for n, shape in shapes.items()}},
    }


def classifier_of(
    config: ModelConfig, weights: Path | None = None, place: str = "cpu"
) -> EquilibriumClassifier | TorchClassifier:
    """A card's model in float with the weights of a file, as it predicts; initial zeros or draws where None.

    ``place`` is where torch computes it.
    """
    if isinstance(config.network, ModuleConfig):
        module = modules.build(config.network, Streams(0))
        if weights:
            load_weights(module, weights)
        return modules.classifier(config.network, module.requires_grad_(False).to(place))
    net = network(config.network, FloatDevice(place=place), Streams(0), place=place)
    if weights:
        load_weights(net, weights)
    return EquilibriumClassifier(net, **relaxation(config.inference))
