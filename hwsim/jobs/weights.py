"""Weights in files: safetensors, which loading cannot make run code.

A network's are named layer0.weight, layer0.bias, ..., a torch module's as in its state_dict.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hwsim.cards.build import layer_names
from hwsim.crossbar.updates.log import PULSES
from hwsim.ebm.network import Network
from hwsim.errors import InputError
from hwsim.jobs.store import written_aside

WEIGHTS = "weights.safetensors"
"""The file beside a card that holds its model's weights."""

CONDUCTANCES = "conductances.safetensors"
"""The file beside weights that were learned on a device: what its cross-points hold, in uS where the device says it."""

LARGEST = 1e6
"""Beyond it a weight is no weight: in float32 a relaxation would no longer resolve its states."""


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


def named_conductances(net: Network) -> dict[str, Tensor]:
    """Copies of what the arrays of weights hold, as layer0.conductance.PART, and of the pulses that a log counted."""
    named = {}
    for name, synapse in zip(layer_names(net), net.synapses, strict=True):
        for part, g in synapse.conductances().items() if name.endswith(".weight") else ():
            own = part if part.startswith(PULSES) else f"conductance.{part}"
            named[f"{name.partition('.')[0]}.{own}"] = g.detach().cpu().clone().contiguous()
    return named


def save_conductances(net: Network, path: Path) -> None:
    """Write what the arrays hold, replacing the file as a whole."""
    with written_aside(path) as aside:
        save_file(named_conductances(net), aside)


def load_weights(model: Network | torch.nn.Module, path: Path) -> None:
    """Give a model the weights of a file. InputError where they are not there or not this model's."""
    if isinstance(model, Network):
        names = layer_names(model)
        like = {name: torch.zeros(synapse.shape) for name, synapse in zip(names, model.synapses, strict=True)}
        tensors = read_tensors(path, like)
        model.program([tensors[name] for name in names])
    else:
        model.load_state_dict(read_tensors(path, model.state_dict()))


def read_tensors(path: Path, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file that take the place of ``like``: the same names and shapes, numbers of the same kind.

    Raises InputError for what is missing or too much, for other shapes, for integers, truth values or complex numbers
    where real ones belong or the other way round, and for numbers that are not finite, or larger than ``LARGEST``,
    where those of ``like`` are not.
    """
    try:
        with safe_open(path, framework="pt") as file:
            kept = list(file.keys())
            if missing := [name for name in like if name not in kept]:
                raise InputError(f"{path}: holds no {missing[0]}; expected {_listed(like)}, found {_listed(kept)}")
            if extra := [name for name in kept if name not in like]:
                raise InputError(f"{path}: holds {extra[0]}, which the model does not have; expected {_listed(like)}")
            for name, own in like.items():
                shape, expected = tuple(file.get_slice(name).get_shape()), tuple(own.shape)
                if shape != expected:
                    raise InputError(f"{path}: {name} has shape {shape}; expected {expected}, is it another network's?")
            return {name: _checked(path, name, file.get_tensor(name), own) for name, own in like.items()}
    except InputError:
        raise
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{path}: no weights can be read from it ({error})") from error


def _checked(path: Path, name: str, given: Tensor, own: Tensor) -> Tensor:
    if _kind(given) != _kind(own):
        raise InputError(f"{path}: {name} holds {_kind(given)} ({_type(given)}); expected {_kind(own)}")
    if not own.is_floating_point() or not given.numel():
        return given
    worst = given.double().abs().nan_to_num(math.inf, math.inf).max().item()
    mine = own.double().abs().nan_to_num(math.inf, math.inf).max().item()
    if worst == math.inf and mine < math.inf:
        count = int((~given.isfinite()).sum())
        raise InputError(
            f"{path}: {name} has {count} of {given.numel()} numbers that are NaN or infinite; train it again"
        )
    if worst > LARGEST and mine <= LARGEST:
        raise InputError(f"{path}: {name} goes up to {worst:.3g}; a network's weights lie within {LARGEST:g}")
    return given


def _kind(tensor: Tensor) -> str:
    if tensor.is_complex():
        return "complex numbers"
    if tensor.dtype == torch.bool:
        return "truth values"
    return "real numbers" if tensor.is_floating_point() else "integers"


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    return ", ".join(every[:8]) + (f" and {len(every) - 8} more" if len(every) > 8 else "") or "nothing"
