"""The collapse of the tolerance study, on curves whose answer is known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from studies import module_of

collapse = module_of("tolerance", "collapse").collapse


def shares(accuracy: float, seeds: int = 3, images: int = 10_000) -> NDArray[np.float64]:
    """Hits with this accuracy, nested: an image lost at one value is lost at every worse one."""
    return np.tile(np.arange(images) < round(accuracy * images), (seeds, 1)).astype(float)


def test_collapse_tells_a_law_from_none() -> None:
    sigma, reads = (a.ravel() for a in np.meshgrid([0.1, 0.2, 0.4, 0.8], [1, 4, 16]))
    pairs = zip(sigma, reads, strict=True)
    law = collapse(sigma, reads, [shares(1 - 0.5 * s / np.sqrt(n)) for s, n in pairs])
    assert law.scaled < 1e-3
    assert law.unscaled > 0.05
    none = collapse(sigma, reads, [shares(1 - 0.5 * s) for s in sigma])
    assert none.scaled > 0.05
    assert none.unscaled < 1e-3
