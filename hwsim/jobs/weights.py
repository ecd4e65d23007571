"""Weights in files: safetensors, which loading cannot make run code.

A network's are named layer0.weight, layer0.bias, ..., a torch module's as in its state_dict.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from hwsim.cards.build import layer_names
from hwsim.ebm.network import Network
from hwsim.errors import InputError
from hwsim.jobs.store import written_aside

WEIGHTS = "weights.safetensors"
"""The file beside a card that holds its model's weights."""


def named_weights(model: Network | torch.nn.Module) -> dict[str, Tensor]:
    """Copies of all weights, by name."""
    if isinstance(model, Network):
        named: Mapping[str, Tensor] = dict(zip(layer_names(model), model.weights(), strict=True))
    else:
        named = model.state_dict()
    # Parameters that share memory are written apart; they are joined again by the module that takes them.
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in named.items()}


def save_weights(model: Network | torch.nn.Module, path: Path) -> None:
    """Write all weights, replacing the file as a whole."""
    with written_aside(path) as aside:
        save_file(named_weights(model), aside)


def load_weights(model: Network | torch.nn.Module, path: Path) -> None:
    """Give a model the weights of a file. InputError where they are not there or not this model's."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: no weights can be read from it ({error})") from error
    if isinstance(model, Network):
        shapes = {n: tuple(s.shape) for n, s in zip(layer_names(model), model.synapses, strict=True)}
    else:
        shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if missing := [name for name in shapes if name not in tensors]:
        raise InputError(f"{path}: holds no {missing[0]}; expected {', '.join(shapes)}, found {', '.join(tensors)}")
    for name, expected in shapes.items():
        if (shape := tuple(tensors[name].shape)) != expected:
            raise InputError(f"{path}: {name} has shape {shape}; expected {expected}, is it another network's?")
    if isinstance(model, Network):
        model.program([tensors[name] for name in shapes])
    else:
        model.load_state_dict({name: tensors[name] for name in shapes})
