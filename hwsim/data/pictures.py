"""A picture file as 8-bit pixels: read rightly, or refused by the name of what it is."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")

_PLAIN = {"1": "L", "L": "L", "LA": "L", "P": "RGB", "PA": "RGB", "RGB": "RGB", "RGBA": "RGB", "YCbCr": "RGB"}
"""Pillow's modes whose pixels have one meaning on a screen, and the mode that they are read in."""
_DEEP = ("I;16", "I;16B", "I;16L", "I;16N")
_WHY = {
    "CMYK": "ink, whose colours on a screen depend on a profile",
    "I": "32-bit numbers, of which it does not say which is white",
    "F": "floating-point numbers, of which it does not say which is white",
}


def read_picture(path: Path, size: int | None = None) -> np.ndarray:
    """The pixels of a picture as uint8, (H, W) where it is grey, else (H, W, 3), upright as its EXIF entry says.

    16-bit greys are rounded to 8 bits. ``size`` resizes to a square (bilinear). Raises InputError for what is no
    picture, is damaged, animated or transparent, and for pixels that have no one meaning in [0, 1].
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                _check(path, picture)
                upright = ImageOps.exif_transpose(picture)
                if upright.mode in _DEEP:
                    grey = (np.asarray(upright).astype(np.uint32) * 255 + 32767) // 65535
                    upright = Image.fromarray(grey.astype(np.uint8))
                else:
                    upright = upright.convert(_PLAIN[upright.mode])
                if size is not None:
                    upright = upright.resize((size, size), Image.Resampling.BILINEAR)
                return np.asarray(upright)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{path}: too large a picture ({error}); make it smaller") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: cannot be read as an image (of no known format); replace or remove it") from error
    except InputError:
        raise
    except Exception as error:  # Pillow's decoders raise what they like at damaged files
        raise InputError(f"{path}: cannot be read as an image ({error}); replace or remove the file") from error


def _check(path: Path, picture: Any) -> None:
    """InputError for a picture whose pixels have no one meaning."""
    if getattr(picture, "is_animated", False):
        raise InputError(f"{path}: is animated ({picture.n_frames} pictures); expected one picture a file")
    if picture.mode not in _PLAIN and picture.mode not in _DEEP:
        why = _WHY.get(picture.mode, "which is not read")
        raise InputError(f"{path}: its mode is {picture.mode}, {why}; save it as 8-bit grey or RGB")
    if picture.has_transparency_data:
        alpha = picture.convert("RGBA").getchannel("A").getextrema()[0]
        if alpha < 255:
            raise InputError(f"{path}: has transparent pixels, and nothing says what is behind them; flatten it")
