"""torchvision's vision transformer for small square images."""

from __future__ import annotations

from typing import Any

from torchvision.models import VisionTransformer


def vit(image: tuple[int, int, int], classes: int, **parameters: Any) -> VisionTransformer:
    """``parameters`` are those of ``torchvision.models.VisionTransformer``. Images need three channels."""
    if image[0] != 3 or image[1] != image[2]:
        raise ValueError(f"expected square images of three channels, got {image}")
    return VisionTransformer(image_size=image[1], num_classes=classes, **parameters)
