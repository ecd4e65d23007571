"""Where torch computes: the CPU, or a CUDA device of this machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from hwsim.errors import InputError

CPU = "cpu"


def check_place(place: str, on_device: bool = False) -> None:
    """InputError unless torch computes at ``place``, "cpu", "cuda" or "cuda:N", and what is computed can be there.

    ``on_device``: is it computed on simulated devices? They stay on the CPU.
    """
    if not re.fullmatch(r"cpu|cuda(:\d+)?", place):
        raise InputError(f"--accelerator: expected cpu, cuda or cuda:N, got {place!r}")
    if place == CPU:
        return
    if on_device:
        raise InputError(f"--accelerator {place}: simulated devices are computed on the CPU; leave out one of the two")
    if not torch.cuda.is_available():
        raise InputError(
            f"--accelerator {place}: torch finds no CUDA device here; use --accelerator cpu, or install the CUDA build "
            "of torch on a machine with an NVIDIA GPU"
        )
    if (number := int(place.partition(":")[2] or 0)) >= torch.cuda.device_count():
        known = ", ".join(f"cuda:{n}" for n in range(torch.cuda.device_count()))
        raise InputError(f"--accelerator {place}: there is no CUDA device {number}; expected one of {known}")


@contextmanager
def products_in(precision: str = "float32") -> Iterator[None]:
    """Products of float32 matrices and images are computed in TF32 inside where ``precision`` is "tf32", else in full.

    On GPUs torch computes convolutions in TF32 unless it is told not to, and matrix products in full.
    """
    matrices: Any = torch.backends.cuda.matmul
    images: Any = torch.backends.cudnn
    before = matrices.allow_tf32, images.allow_tf32
    matrices.allow_tf32 = images.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        matrices.allow_tf32, images.allow_tf32 = before
