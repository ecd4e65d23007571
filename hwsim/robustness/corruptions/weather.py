"""Weather corruptions: snow, frost, fog and spatter. Constants: severity 1 to 5 of CIFAR-10-C."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from hwsim.robustness.corruptions.blur import smear, smooth, zoomed
from hwsim.robustness.corruptions.draws import Array, Draws

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32).reshape(1, 3, 1, 1)


def grey(x: Array) -> Array:
    """(B, 1, H, W): brightness as the eye weighs it."""
    return x if x.shape[1] == 1 else (x * LUMA).sum(1, keepdims=True)


def snow(x: Array, severity: int, draws: Draws) -> Array:
    mean, spread, factor, floor, radius, sigma, kept = (
        (0.1, 0.2, 1.0, 0.6, 8, 3.0, 0.95),
        (0.1, 0.2, 1.0, 0.5, 10, 4.0, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4.0, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6.0, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12.0, 0.8),
    )[severity]
    flakes = zoomed(mean + spread * draws.normal(1, *x.shape[2:]), factor)
    flakes = np.floor(np.where(flakes < floor, 0, np.clip(flakes, 0, 1)) * 255) / 255
    flakes = smear(flakes.astype(np.float32), radius, sigma, draws.uniform(-135, -45))
    whitened = kept * x + (1 - kept) * np.maximum(x, grey(x) * 1.5 + 0.5)
    return whitened + flakes + np.rot90(flakes, 2, axes=(2, 3))


def fog(x: Array, severity: int, draws: Draws) -> Array:
    thickness, decay = ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75))[severity]
    brightest = x.max((1, 2, 3), keepdims=True)
    side = x.shape[2]
    clouds = plasma(draws, 1 << (side - 1).bit_length(), decay)[:, None, :side, :side]
    return (x + thickness * clouds) * brightest / (brightest + thickness)


def plasma(draws: Draws, side: int, decay: float) -> Array:
    """(B, side, side) height maps in [0, 1] by the diamond-square algorithm; ``side`` is a power of two."""
    height = np.zeros((len(draws), side, side))
    step, wobble = side, 100.0

    def moved(neighbours: Array) -> Array:
        return neighbours / 4 + wobble * draws.uniform(-wobble, wobble, *neighbours.shape[1:])

    while step >= 2:
        half = step // 2
        corners = height[:, ::step, ::step]
        across = corners + np.roll(corners, -1, 1)
        height[:, half::step, half::step] = moved(across + np.roll(across, -1, 2))
        middles = height[:, half::step, half::step]
        sides = middles + np.roll(middles, 1, 1) + corners + np.roll(corners, -1, 2)
        height[:, ::step, half::step] = moved(sides)
        sides = middles + np.roll(middles, 1, 2) + corners + np.roll(corners, -1, 1)
        height[:, half::step, ::step] = moved(sides)
        step, wobble = half, wobble / decay
    height = height - height.min((1, 2), keepdims=True)
    return height / height.max((1, 2), keepdims=True)


# Mean colour, and spread of brightness within a 32 x 32 crop, of the five photographs that the reference draws from.
# The second and third are one photograph in the original too.
FROST = (
    ((0.30, 0.58, 0.65), 0.056),
    ((0.79, 0.81, 0.84), 0.071),
    ((0.79, 0.81, 0.84), 0.071),
    ((0.54, 0.60, 0.65), 0.101),
    ((0.44, 0.48, 0.53), 0.135),
)


def frost(x: Array, severity: int, draws: Draws) -> Array:
    """Ice over the picture. The textures are made here, not the photographs of the reference.

    They have the photographs' mean colours and contrast, and needles in two directions for their grain.
    """
    clear, ice = ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))[severity]
    texture = frost_texture(draws, x.shape[2])
    return clear * x + ice * (texture if x.shape[1] == 3 else grey(texture))


def frost_texture(draws: Draws, side: int) -> Array:
    """(B, 3, side, side) procedural ice."""
    kind = draws.integers(0, len(FROST))
    colour = np.array([mean for mean, _ in FROST], dtype=np.float32)[kind]
    contrast = np.array([spread for _, spread in FROST], dtype=np.float32)[kind]
    grain = draws.normal(3, 1, side, side)
    angle = draws.uniform(0, 180)
    needles = smear(grain[:, 0], 4, 2.0, angle) + smear(grain[:, 1], 4, 2.0, angle + 60)
    ice = _standardised(needles) + _standardised(grain[:, 2]) + 0.7 * _standardised(smooth(grain[:, 2], 2.0))
    shade = contrast[:, None, None, None] * _standardised(ice) + 0.05 * draws.normal(1, 1, 1)
    return np.clip(colour[:, :, None, None] + shade, 0, 1).astype(np.float32)


def _standardised(x: Array) -> Array:
    return (x - x.mean((2, 3), keepdims=True)) / x.std((2, 3), keepdims=True)


WATER = np.array([175, 238, 238], dtype=np.float32).reshape(1, 3, 1, 1) / 255
MUD = np.array([63, 42, 20], dtype=np.float32).reshape(1, 3, 1, 1) / 255


def spatter(x: Array, severity: int, draws: Draws) -> Array:
    """Drops of water (severity 1 to 3) or mud (4 and 5) on the lens."""
    mean, spread, sigma, floor, weight, muddy = (
        (0.62, 0.1, 0.7, 0.7, 0.5, False),
        (0.65, 0.1, 0.8, 0.7, 0.5, False),
        (0.65, 0.3, 1.0, 0.69, 0.5, False),
        (0.65, 0.1, 0.7, 0.69, 0.6, True),
        (0.65, 0.1, 0.5, 0.68, 0.6, True),
    )[severity]
    liquid = smooth(mean + spread * draws.normal(*x.shape[2:]), sigma)
    liquid = np.where(liquid < floor, 0, liquid)
    if muddy:
        cover = smooth((liquid > floor).astype(np.float32), weight)[:, None]
        cover = np.where(cover < 0.8, 0, cover)
        return x * (1 - cover) + cover * (MUD if x.shape[1] == 3 else grey(MUD))
    film = np.stack([_film(np.floor(one * 255)) for one in liquid])[:, None] * weight
    return x + film.astype(np.float32) * (WATER if x.shape[1] == 3 else grey(WATER))


def _film(liquid: Array) -> Array:
    """(H, W) thickness in [0, 1] of water of ``liquid`` grey levels, lit from one side."""
    distance = np.minimum(np.asarray(ndimage.distance_transform_edt(~_edges(liquid))), 20)
    distance = np.floor(ndimage.uniform_filter(distance, 3, mode="mirror") + 1e-6)
    light = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
    relief = np.clip(ndimage.correlate(_equalised(distance), light, mode="mirror"), 0, 255)
    film = liquid * np.round(ndimage.uniform_filter(relief, 3, mode="mirror"))
    return film / max(film.max(), 1e-12)


def _equalised(levels: Array) -> Array:
    """Histogram equalisation of whole numbers in 0..255 to the full range."""
    counts = np.bincount(levels.astype(int).ravel(), minlength=256)
    first = counts[counts.nonzero()[0][0]]
    if first == levels.size:
        return levels
    return np.round((counts.cumsum() - first) * 255 / (levels.size - first))[levels.astype(int)]


def _edges(levels: Array, low: float = 50, high: float = 150) -> Array:
    """(H, W) bool: edges after Canny (1986): ridges of the gradient above ``low`` joined to some above ``high``."""
    across = ndimage.sobel(levels, 1, mode="nearest")
    down = ndimage.sobel(levels, 0, mode="nearest")
    size = np.abs(across) + np.abs(down)
    padded = np.pad(size, 1)
    turn = np.rad2deg(np.arctan2(down, across)) % 180
    ridge = np.zeros(size.shape, dtype=bool)
    side = len(levels)
    for angle, (dy, dx) in ((0, (0, 1)), (45, (1, 1)), (90, (1, 0)), (135, (1, -1))):
        along = np.abs((turn - angle + 90) % 180 - 90) <= 22.5
        before = padded[1 - dy : 1 - dy + side, 1 - dx : 1 - dx + side]
        after = padded[1 + dy : 1 + dy + side, 1 + dx : 1 + dx + side]
        ridge |= along & (size > before) & (size >= after)
    strong = ridge & (size > high)
    return np.asarray(ndimage.binary_propagation(strong, np.ones((3, 3)), mask=ridge & (size > low)))
