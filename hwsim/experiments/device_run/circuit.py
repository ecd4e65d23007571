"""Networks that relax as circuits: what they draw at rest, and the voltages of their nodes."""

from __future__ import annotations

import torch
from torch import Tensor

from hwsim.cards.model import InferenceConfig
from hwsim.ebm.network import Network
from hwsim.ebm.settle import settle
from hwsim.experiments.device_run.records import CircuitRecord, StaticPower
from hwsim.experiments.evaluation import relaxation

PICTURED = 10
"""Images whose node voltages are kept."""


@torch.no_grad()
def static_power(net: Network, x: Tensor, inference: InferenceConfig) -> tuple[StaticPower, list[Tensor]] | None:
    """(mean power over the images x, node voltages (B, nodes) of every layer) at rest; None
    where the network is no circuit."""
    given = net.given(x)
    kind = relaxation(inference)
    state = settle(given, given.start(), solver=kind["solver"], phase=kind["phase"]).state
    power = given.power(state)
    if power is None:
        return None
    parts = {name: getattr(power, name).mean().item() for name in (*power._fields, "total_W")}
    return StaticPower(**parts), [layer.flatten(1) for layer in state]


def circuit_records(case: str, repeat: int, net: Network, x: Tensor, inference: InferenceConfig) -> list[CircuitRecord]:
    """The record of a circuit at rest; none where the network is no circuit."""
    found = static_power(net, x, inference)
    if found is None:
        return []
    power, state = found
    volts = [[[round(v, 5) for v in image] for image in layer[:PICTURED].tolist()] for layer in state]
    return [CircuitRecord(case=case, repeat=repeat, images=len(x), power=power, node_voltages_V=volts)]
