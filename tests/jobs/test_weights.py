"""Weights from files: real, finite numbers of the right names and shapes, or a sentence that names what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import hwsim as hw
from hwsim.jobs.weights import load_weights, named_weights


class Masked(torch.nn.Module):
    """Counts its batches, and has a mask of minus infinity, as attention has."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
        self.register_buffer("mask", torch.full((2,), -torch.inf))


def kept(folder: Path, tensors: dict[str, Tensor]) -> Path:
    save_file(tensors, folder / "weights.safetensors")
    return folder / "weights.safetensors"


@pytest.fixture
def net() -> hw.LayeredHopfield:
    return hw.hopfield([4, 3, 2], seed=1)


@pytest.fixture
def whole(net: hw.LayeredHopfield) -> dict[str, Tensor]:
    return named_weights(net)


def test_weights_are_read_as_they_were_written(net: hw.LayeredHopfield, tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(tensor.shape, generator=draw) for name, tensor in named_weights(net).items()}
    load_weights(net, kept(tmp_path, tensors))
    assert all(torch.equal(tensors[name], own) for name, own in named_weights(net).items())
    halves = {name: tensor.half() for name, tensor in tensors.items()}
    load_weights(net, kept(tmp_path, halves))
    assert all(torch.equal(halves[name].float(), own) for name, own in named_weights(net).items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t * torch.nan, r"layer0\.weight has 12 of 12 numbers that are NaN or infinite"),
        (lambda t: t.index_fill(1, torch.tensor(2), torch.inf), "3 of 12 numbers that are NaN or infinite"),
        (lambda t: t.to(torch.int32), r"holds integers \(int32\); expected real numbers"),
        (lambda t: t > 0, r"holds truth values \(bool\); expected real numbers"),
        (lambda t: t.to(torch.complex64), r"holds complex numbers \(complex64\); expected real numbers"),
        (lambda t: torch.full_like(t, 1e30), r"goes up to 1e\+30; a network's weights lie within 1e\+06"),
        (lambda t: t.T.contiguous(), r"has shape \(4, 3\); expected \(3, 4\), is it another network's"),
    ],
)
def test_what_is_no_weight_is_refused(net, whole, tmp_path: Path, change, message: str) -> None:
    whole["layer0.weight"] = change(whole["layer0.weight"])
    with pytest.raises(hw.InputError, match=message):
        load_weights(net, kept(tmp_path, whole))


def test_missing_and_extra_tensors_are_refused(net, whole, tmp_path: Path) -> None:
    with pytest.raises(hw.InputError, match=r"holds layer9\.weight, which the model does not have; expected layer0"):
        load_weights(net, kept(tmp_path, {**whole, "layer9.weight": torch.zeros(1)}))
    del whole["layer1.bias"]
    with pytest.raises(hw.InputError, match=r"holds no layer1\.bias; expected layer0\.weight, .* found layer0"):
        load_weights(net, kept(tmp_path, whole))


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\x10\0\0\0\0\0\0\0" + b"[" * 16, b"{}" * 9])
def test_a_file_of_something_else_is_told(net, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(hw.InputError, match=r"weights\.safetensors: no weights can be read from it"):
        load_weights(net, path)


def test_a_module_takes_integers_and_infinities_where_it_has_them_itself(tmp_path: Path) -> None:
    module, other = Masked(), Masked()
    other.layers(torch.randn(8, 4))
    load_weights(module, kept(tmp_path, named_weights(other)))
    assert all(torch.equal(own, other.state_dict()[name]) for name, own in module.state_dict().items())
    counted = {**named_weights(other), "layers.2.num_batches_tracked": torch.tensor(0.5)}
    with pytest.raises(hw.InputError, match=r"num_batches_tracked holds real numbers \(float32\); expected integers"):
        load_weights(module, kept(tmp_path, counted))
