"""Natural corruptions of Hendrycks and Dietterich (2019) at five severities, with the CIFAR-sized constants.

The constants are those behind CIFAR-10-C (two to four times milder than ImageNet-C's). Lengths are in pixels of a
32 x 32 image and stay in pixels for smaller ones, on which a blur therefore weighs more. As in the published files,
images come out truncated to 256 grey levels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hwsim.data.split import as_images
from hwsim.errors import InputError
from hwsim.rng import generator_of
from hwsim.robustness.corruptions import blur, digital, noise, weather
from hwsim.robustness.corruptions.draws import Array, Draws

Corruption = Callable[[Array, int, Draws], Array]
"""(B, C, H, W) float32 images in [0, 1], severity index 0 to 4 and draws -> corrupted images, clipped later."""

COMMON: dict[str, Corruption] = {
    "gaussian-noise": noise.gaussian,
    "shot-noise": noise.shot,
    "impulse-noise": noise.impulse,
    "defocus-blur": blur.defocus,
    "glass-blur": blur.glass,
    "motion-blur": blur.motion,
    "zoom-blur": blur.zoom,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": digital.brightness,
    "contrast": digital.contrast,
    "elastic": digital.elastic,
    "pixelate": digital.pixelate,
    "jpeg": digital.jpeg,
}
EXTRA: dict[str, Corruption] = {
    "speckle-noise": noise.speckle,
    "gaussian-blur": blur.gaussian,
    "spatter": weather.spatter,
    "saturate": digital.saturate,
}
CORRUPTIONS: dict[str, Corruption] = {**COMMON, **EXTRA}
SEVERITIES = (1, 2, 3, 4, 5)


def corrupt(name: str, x: Any, severity: int, rng: int | torch.Generator = 0) -> Tensor:
    """A corrupted copy of ``x``.

    Args:
        name: one of ``CORRUPTIONS``.
        x: (B, C, H, W) images in [0, 1] with 1 or 3 channels, 8 to 64 pixels a side, a tensor or an array.
        severity: 1 to 5.
        rng: one seed an image is drawn from it, also for corruptions that draw nothing; or its own seed.

    Raises InputError for an unknown name, another severity or images of another form.

    Hendrycks and Dietterich 2019 (arXiv 1903.12261).

    >>> import hwsim as hw
    >>> x, y = hw.load_data("digits").test
    >>> hw.corrupt("fog", x, severity=3).shape == x.shape
    True
    """
    if name not in CORRUPTIONS:
        raise InputError(f"corruption: expected one of {', '.join(sorted(CORRUPTIONS))}, got {name!r}")
    if severity not in SEVERITIES:
        raise InputError(f"corruption {name}: expected a severity from 1 to 5, got {severity!r}")
    x = as_images(x)
    if x.dim() != 4:
        raise InputError(f"corruption input: expected (B, C, H, W) with 1 or 3 channels, got {tuple(x.shape)}")
    check_corruptible(tuple(x.shape[1:]), f"corruption {name}")
    if len(x) and not (x.min() >= 0 and x.max() <= 1):
        raise InputError(f"corruption input: pixels lie in [{x.min():g}, {x.max():g}]; scale images to [0, 1]")
    draws = Draws(len(x), generator_of(rng, "corruption"))
    if not len(x):
        return x.clone()
    clean = x.detach().cpu().to(torch.float32).numpy()
    out = np.clip(CORRUPTIONS[name](clean, severity - 1, draws), 0.0, 1.0)
    # The published files are cut, not rounded; the small addend undoes rounding of whole grey levels.
    out = np.floor(out * 255 + 1e-3) / 255
    return torch.from_numpy(np.ascontiguousarray(out, dtype=np.float32)).to(x)


def input_noise(x: Tensor, sigma: float, rng: torch.Generator) -> Tensor:
    """``x`` (B, ...) with Gaussian noise of standard deviation ``sigma`` on every pixel, clipped to [0, 1]."""
    if sigma < 0:
        raise InputError(f"input noise: expected a standard deviation >= 0, got {sigma}")
    drawn = torch.randn(x.shape, generator=rng, device=rng.device, dtype=x.dtype).to(x.device)
    return (x + sigma * drawn).clamp(0.0, 1.0)


def salt_and_pepper(x: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """``x`` (B, ...) with a ``share`` in [0, 1] of its pixel values set to 0 or 1, evenly."""
    if not 0 <= share <= 1:
        raise InputError(f"salt and pepper: expected a share in [0, 1], got {share}")
    hit = torch.rand(x.shape, generator=rng, device=rng.device).to(x.device)
    return torch.where(hit < share, (hit < share / 2).to(x.dtype), x)


def check_corruptible(shape: tuple[int, ...], where: str) -> None:
    """InputError, which begins with ``where``, unless images of ``shape`` (C, H, W) can be corrupted."""
    channels, *sides = shape
    if channels not in (1, 3):
        raise InputError(f"{where}: expected images of 1 or 3 channels, got {channels}")
    if not all(8 <= side <= 64 for side in sides) or len(set(sides)) > 1:
        size = " x ".join(map(str, sides))
        raise InputError(f"{where}: expected square images of 8 to 64 pixels a side, got {size}")
