"""Weights in files: safetensors, which loading cannot make run code, named layer0.weight, layer0.bias, ..."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from hwsim.errors import InputError
from hwsim.hopfield import LayeredHopfield
from hwsim.study.training import layer_names


def load_weights(net: LayeredHopfield, path: Path) -> None:
    """Program a network with the weights of a file. InputError where they are not there or not this network's."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: no weights can be read from it ({error})") from error
    names = layer_names(net)
    if missing := [name for name in names if name not in tensors]:
        raise InputError(f"{path}: holds no {missing[0]}; expected {', '.join(names)}, found {', '.join(tensors)}")
    for name, synapse in zip(names, net.synapses, strict=True):
        if tuple(tensors[name].shape) != tuple(synapse.shape):
            found, expected = tuple(tensors[name].shape), tuple(synapse.shape)
            raise InputError(f"{path}: {name} has shape {found}; expected {expected}, is it another network's?")
    net.program([tensors[name] for name in names])
