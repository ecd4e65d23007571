"""Pictures as cameras, scanners and drawing programs write them: read rightly, or refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hwsim.data.pictures import read_picture
from hwsim.errors import InputError

RAMP = np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)


def saved(folder: Path, image: Image.Image, suffix: str = ".png", **options: object) -> Path:
    image.save(folder / f"x{suffix}", **options)
    return folder / f"x{suffix}"


def deep(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values.astype(np.uint16))


def test_sixteen_bits_are_rounded_to_eight(tmp_path: Path) -> None:
    exact = RAMP.astype(np.uint16) * 257
    np.testing.assert_array_equal(read_picture(saved(tmp_path, deep(exact))), RAMP)
    near = np.array([[0, 128, 129, 300], [65535, 65400, 40000, 1]], np.uint16)
    expected = np.round(near / 65535 * 255)
    np.testing.assert_array_equal(read_picture(saved(tmp_path, deep(near))), expected)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_usual_mode_gives_the_same_pixels(tmp_path: Path, mode: str) -> None:
    grey = Image.fromarray(np.where(RAMP > 100, 255, 0).astype(np.uint8) if mode == "1" else RAMP)
    pixels = read_picture(saved(tmp_path, grey.convert(mode)))
    if mode in ("P", "RGB", "RGBA"):
        assert pixels.shape == (8, 8, 3)
        pixels = pixels[..., 1]
    np.testing.assert_array_equal(pixels, np.asarray(grey))


def test_a_photograph_stands_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to show it
    pixels = read_picture(saved(tmp_path, Image.fromarray(RAMP), exif=exif))
    np.testing.assert_array_equal(pixels, np.rot90(RAMP, -1))


def transparent() -> Image.Image:
    image = Image.fromarray(RAMP).convert("RGBA")
    image.putpixel((3, 4), (0, 0, 0, 128))
    return image


PALETTE = Image.fromarray(RAMP).convert("P")


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (transparent(), {}, "has transparent pixels"),
        (transparent().convert("LA"), {}, "has transparent pixels"),
        (PALETTE, {"transparency": PALETTE.getpixel((2, 2))}, "has transparent pixels"),
        (Image.fromarray(RAMP), {"save_all": True, "append_images": [Image.fromarray(255 - RAMP)]}, "is animated"),
        (Image.fromarray(RAMP.astype(np.float32)), {"format": "TIFF"}, "its mode is F, floating-point numbers"),
        (Image.fromarray(RAMP.astype(np.int32)), {"format": "TIFF"}, "its mode is I, 32-bit numbers"),
        (Image.fromarray(RAMP).convert("CMYK"), {"format": "JPEG"}, "its mode is CMYK, ink"),
        (Image.fromarray(RAMP).convert("RGB").convert("LAB"), {"format": "TIFF"}, "its mode is LAB"),
    ],
)
def test_what_has_no_one_meaning_is_refused(tmp_path: Path, image: Image.Image, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_picture(saved(tmp_path, image, **options))


def test_damaged_files_and_endless_ones_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, Image.fromarray(RAMP))
    whole = path.read_bytes()
    for cut in (0, 8, 30, whole.index(b"IDAT") + 10):
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError, match=r"x\.png: cannot be read as an image"):
            read_picture(path)
    path.write_bytes(whole)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    with pytest.raises(InputError, match="too large a picture"):
        read_picture(path)
