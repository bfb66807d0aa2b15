"""Simulate one hospital's X-ray scanner: turn a drawn chest into the pixel values that its files store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from fedward.dicom.synthetic.chest import Chest, Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanner:
    """X-ray scanner of one hospital, and the format of its files.

    Attributes:
        modality: CR or DX, Modality (0008,0060).
        manufacturer: invented name.
        rows, columns: size of the image in pixels.
        spacing_mm: size of a pixel.
        bits: BitsStored (0028,0101).
        photometric: MONOCHROME1 stores bone dark, MONOCHROME2 bright.
        compressed: RLE Lossless instead of plain pixels.
        windowed: True to write WindowCenter and WindowWidth (0028,1050 and 1051) around the used part of the range.
        slope, intercept: RescaleSlope and RescaleIntercept (0028,1053 and 1052).
        span: lowest and highest part of the range of ``bits`` that the scanner uses, as fractions.
        gamma, contrast: grey-scale curve of the scanner.
        blur_px: standard deviation of the detector's blur.
        noise: standard deviation of the noise where little light arrives, as a fraction of the range.
        heel: fall of brightness from one side to the other, as a fraction of the range.
        border: largest fraction of the image's side that the collimator may cut off at each edge.
        corner: end of the top edge with the side marker: R at the left of the picture, L at its right.
    """

    modality: Literal["CR", "DX"]
    manufacturer: str
    rows: int
    columns: int
    spacing_mm: float
    bits: int
    photometric: Literal["MONOCHROME1", "MONOCHROME2"]
    compressed: bool
    windowed: bool
    slope: float
    intercept: float
    span: tuple[float, float]
    gamma: float
    contrast: float
    blur_px: float
    noise: float
    heel: float
    border: float
    corner: Literal["left", "right"]


def expose(
    chest: Chest, scanner: Scanner, rng: np.random.Generator, *, marked: bool, device: bool
) -> NDArray[np.uint16]:
    """Take one image: uint16 (rows, columns) as the file stores it, each value below ``2**scanner.bits``.

    Args:
        marked: True to put the bedside marker into the image.
        device: True to put a pacemaker and its lead on the chest.
    """
    density = _with_device(chest.density, rng) if device else chest.density
    exposure = rng.normal(0.0, 0.06)
    bright = np.clip((density + exposure) * scanner.contrast / 1.55, 0.0, 1.15)
    bright = np.where(bright > 0.9, 0.9 + 0.1 * np.tanh((bright - 0.9) / 0.1), bright) ** scanner.gamma
    across = np.linspace(-0.5, 0.5, scanner.columns, dtype=np.float32)[None, :]
    bright = bright + scanner.heel * across * (0.3 + bright)
    bright = gaussian_filter(bright.astype(np.float32), scanner.blur_px)
    grain = rng.standard_normal(bright.shape, dtype=np.float32)
    bright = bright + scanner.noise * grain * (0.35 + bright)
    bright = _markers(bright, scanner, rng, marked=marked)
    bright = np.clip(_collimate(bright, scanner, rng), 0.0, 1.0)
    top = (1 << scanner.bits) - 1
    low, high = scanner.span
    stored = np.rint((low + (high - low) * bright) * top).astype(np.uint16)
    if scanner.photometric == "MONOCHROME1":
        return np.asarray(top - stored, dtype=np.uint16)
    return stored


def _with_device(density: Floats, rng: np.random.Generator) -> Floats:
    """Add a pacemaker below the left collar bone and a lead down to the heart; both are denser than bone."""
    rows, columns = density.shape
    y = (np.arange(rows, dtype=np.float32)[:, None] + 0.5) / (0.5 * rows) - 1
    x = (np.arange(columns, dtype=np.float32)[None, :] + 0.5 - 0.5 * columns) / (0.5 * rows)
    at_x, at_y = rng.uniform(0.52, 0.62), rng.uniform(-0.55, -0.42)
    box = ((x - at_x) / 0.1) ** 4 + ((y - at_y) / 0.075) ** 4 < 1
    along = np.clip((y - at_y) / 0.75, 0, 1)
    lead = at_x * (1 - along) ** 2 + 0.12 * along + 0.1 * np.sin(3 * along) * (1 - along)
    wire = (np.abs(x - lead) < 0.014) & (y > at_y) & (y < 0.3)
    return np.asarray(density + 1.1 * box + 0.55 * wire, dtype=np.float32)


def _collimate(bright: Floats, scanner: Scanner, rng: np.random.Generator) -> Floats:
    """Blacken the edges that the collimator covered."""
    rows, columns = bright.shape
    cuts = rng.uniform(0.0, scanner.border, 4) * (rng.random(4) < 0.6)
    top, bottom, left, right = (cuts * [rows, rows, columns, columns]).astype(int)
    framed = np.zeros_like(bright)
    framed[top : rows - bottom, left : columns - right] = bright[top : rows - bottom, left : columns - right]
    return framed


# ---------------------------------------------------------------- lead letters

_LETTERS = {
    "R": ("1111.", "1...1", "1...1", "1111.", "1.1..", "1..1.", "1...1"),
    "L": ("1....", "1....", "1....", "1....", "1....", "1....", "11111"),
    "B": ("1111.", "1...1", "1...1", "1111.", "1...1", "1...1", "1111."),
    "E": ("11111", "1....", "1....", "1111.", "1....", "1....", "11111"),
    "D": ("1111.", "1...1", "1...1", "1...1", "1...1", "1...1", "1111."),
}


def _text(word: str, *, size: int) -> NDArray[np.bool_]:
    letters = [np.array([[dot == "1" for dot in line] + [False] for line in _LETTERS[letter]]) for letter in word]
    return np.kron(np.concatenate(letters, axis=1), np.ones((size, size), dtype=bool))


def _markers(bright: Floats, scanner: Scanner, rng: np.random.Generator, *, marked: bool) -> Floats:
    """Draw the side marker of every image, and ``BED`` below it where the image was taken at the bedside."""
    marked_image = bright.copy()
    words = [_text("R" if scanner.corner == "left" else "L", size=1 + scanner.rows // 150)]
    if marked:
        words.append(_text("BED", size=1 + scanner.rows // 150))
    top = int(rng.integers(4, 9)) + int(scanner.border * scanner.rows)
    margin = int(rng.integers(4, 9)) + int(scanner.border * scanner.columns)
    for word in words:
        height, width = word.shape
        left = margin if scanner.corner == "left" else bright.shape[1] - margin - width
        marked_image[top : top + height, left : left + width][word] = 0.98
        top += height + 4
    return marked_image
