"""Draw a synthetic chest: anatomy, lesions and lung fields as smooth functions of position. No DICOM and no scanner.

Positions are in half-heights of the image: ``y`` runs from -1 at the top to 1 at the bottom; ``x`` is measured from the
middle, positive towards the patient's left (right side of the picture). Density is the absorption along the X-ray's
path, in arbitrary units: about 0 in air, 0.3 in lung, 1 and more behind the heart and below the diaphragm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Floats = NDArray[np.floating[Any]]
Kind = Literal["nodule", "infiltrate", "cavity"]
KINDS: tuple[Kind, ...] = ("nodule", "infiltrate", "cavity")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesion:
    """Lesion in a lung: ``place`` is (x, y) in body axes, ``radius`` in half-heights."""

    kind: Kind
    place: tuple[float, float]
    radius: float
    density: float
    texture: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """Anatomy of one patient, the same in all of the patient's images; sizes are in half-heights."""

    width: float
    height: float
    diaphragm: float
    heart: float
    ribs: float
    vessels: int
    breasts: float
    bubble: float
    lesions: tuple[Lesion, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """Pose of the patient in one image: shift in half-heights, rotation in radians, magnification, depth of breath."""

    shift: tuple[float, float]
    rotation: float
    scale: float
    breath: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Chest:
    """Drawn chest: ``density`` float32 (rows, columns) and ``lungs`` bool of the same shape."""

    density: Floats
    lungs: NDArray[np.bool_]


def draw_anatomy(rng: np.random.Generator, *, lesions: tuple[Kind, ...], conspicuity: float) -> Anatomy:
    """Draw one patient; ``conspicuity`` scales the density of the lesions."""
    width, height = rng.uniform(0.88, 1.1), rng.uniform(0.9, 1.06)
    return Anatomy(
        width=width,
        height=height,
        diaphragm=rng.uniform(0.3, 0.46),
        heart=rng.uniform(0.8, 1.3),
        ribs=rng.uniform(0.7, 1.3),
        vessels=int(rng.integers(2**31)),
        breasts=float(rng.uniform(0.05, 0.14) * (rng.random() < 0.5)),
        bubble=float(rng.uniform(0.5, 1.0) * (rng.random() < 0.7)),
        lesions=tuple(_draw_lesion(rng, kind, conspicuity) for kind in lesions),
    )


def draw_pose(rng: np.random.Generator) -> Pose:
    """Draw the patient's pose for one image."""
    return Pose(
        shift=(float(rng.normal(0, 0.03)), float(rng.normal(0, 0.03))),
        rotation=float(rng.normal(0, 0.03)),
        scale=float(rng.uniform(0.95, 1.05)),
        breath=float(rng.uniform(-0.03, 0.05)),
    )


def draw_chest(anatomy: Anatomy, pose: Pose, *, rows: int, columns: int) -> Chest:
    """Draw the chest on a grid of ``rows`` by ``columns``; the same arguments give the same bits."""
    x, y = _body_axes(anatomy, pose, rows, columns)
    side = np.abs(x)
    inner, outer, floor = _lung_borders(anatomy, pose, x, y)
    lungs = (side > inner) & (side < outer) & (y < floor)
    air = _step((side - inner) / 0.018) * _step((outer - side) / 0.02) * _step((floor - y) / 0.014)
    density = _torso(anatomy, x, y, floor) - np.float32(0.62) * air
    density = density + _bones(anatomy, x, y, outer, floor)
    # structures in the lung count only where there is lung
    pixels = np.float32(0.5 * rows)
    density = density + air * (_vessels(anatomy, x, y) + _hila(side, y))
    for lesion in anatomy.lesions:
        density = density + air * _lesion(lesion, x, y, pixels)
    return Chest(density=density.astype(np.float32), lungs=lungs)


def _draw_lesion(rng: np.random.Generator, kind: Kind, conspicuity: float) -> Lesion:
    radius = {"nodule": (0.075, 0.14), "infiltrate": (0.2, 0.34), "cavity": (0.12, 0.2)}[kind]
    density = {"nodule": (0.32, 0.52), "infiltrate": (0.32, 0.5), "cavity": (0.34, 0.54)}[kind]
    high, low = {"nodule": (-0.45, 0.22), "infiltrate": (-0.55, 0.0), "cavity": (-0.55, -0.1)}[kind]
    y = rng.uniform(high, low)
    reach = 0.5 * np.sqrt(max(0.0, 1 - ((y - 0.3) / 1.1) ** 2)) + 0.08
    x = rng.uniform(0.22, max(0.3, reach)) * rng.choice([-1.0, 1.0])
    return Lesion(
        kind=kind,
        place=(float(x), float(y)),
        radius=float(rng.uniform(*radius)),
        density=float(rng.uniform(*density) * conspicuity),
        texture=int(rng.integers(2**31)),
    )


def _body_axes(anatomy: Anatomy, pose: Pose, rows: int, columns: int) -> tuple[Floats, Floats]:
    """Return the position of each pixel in body axes."""
    down = (np.arange(rows, dtype=np.float32) + 0.5) / (0.5 * rows) - 1
    across = (np.arange(columns, dtype=np.float32) + 0.5 - 0.5 * columns) / (0.5 * rows)
    across, down = across[None, :] - pose.shift[0], down[:, None] - pose.shift[1]
    cos, sin = np.cos(pose.rotation), np.sin(pose.rotation)
    x = (cos * across + sin * down) / (pose.scale * anatomy.width)
    y = (cos * down - sin * across) / (pose.scale * anatomy.height)
    return x.astype(np.float32), y.astype(np.float32)


def _step(z: Floats) -> Floats:
    """Return a soft step from 0 to 1, half at zero."""
    return np.asarray(0.5 + 0.5 * np.tanh(z), dtype=np.float32)


def _bump(z: Floats) -> Floats:
    return np.asarray(np.exp(-(z * z)), dtype=np.float32)


def _lung_borders(anatomy: Anatomy, pose: Pose, x: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the distance from the midline to each lung's inner and outer border, and the height of the diaphragm."""
    left = _step(x / 0.02)
    heart = anatomy.heart * (0.1 * (1 - left) + 0.27 * left) * _bump((y - 0.3) / 0.3)
    knob = 0.05 * left * _bump((y + 0.33) / 0.08)
    inner = 0.125 + heart + knob - 0.02 * y
    outer = 0.74 * np.sqrt(np.clip(1 - ((y - 0.28) / 1.08) ** 2, 0, None))
    side = np.abs(x)
    dome = anatomy.diaphragm + pose.breath + 0.06 * left
    floor = dome + 1.1 * np.clip(side - 0.3, 0, None) ** 2 + 0.35 * np.clip(0.3 - side, 0, None) ** 2
    return inner.astype(np.float32), outer.astype(np.float32), floor.astype(np.float32)


def _torso(anatomy: Anatomy, x: Floats, y: Floats, floor: Floats) -> Floats:
    """Draw soft tissue: neck, shoulders, chest wall, mediastinum, heart, abdomen, breasts, gas under the diaphragm."""
    side = np.abs(x)
    half = 0.27 + 0.95 * _step((y + 0.84 - 0.12 * side) / 0.07) - 0.36 * _step((y + 0.12) / 0.2)
    wall = np.sqrt(np.clip(1 - 0.75 * (side / half) ** 2, 0.02, None)) * _step((half - side) / 0.03)
    tissue = 0.92 * wall
    tissue = tissue + 0.22 * _bump(x / 0.15) * wall
    tissue = tissue + 0.24 * anatomy.heart * _bump(np.hypot((x - 0.12) / 0.27, (y - 0.2) / 0.25))
    tissue = tissue + 0.34 * _step((y - floor) / 0.03) * wall
    under = np.hypot((x - 0.36) / 0.13, (y - floor - 0.1) / 0.06)
    tissue = tissue - 0.3 * anatomy.bubble * _step((1 - under) / 0.25)
    breast = np.hypot((side - 0.46) / 0.3, (y - 0.22) / 0.32)
    tissue = tissue + anatomy.breasts * _step((1 - breast) / 0.08)
    nipple = np.hypot(side - 0.47, y - 0.34)
    return np.asarray(tissue + 1.2 * anatomy.breasts * _bump(nipple / 0.03), dtype=np.float32)


def _bones(anatomy: Anatomy, x: Floats, y: Floats, outer: Floats, floor: Floats) -> Floats:
    """Draw spine, posterior and anterior ribs, clavicles, shoulder blades."""
    side = np.abs(x)
    bone = 0.13 * _step((0.075 - side) / 0.014) * (1 + 0.25 * np.cos(2 * np.pi * y / 0.135))
    cage = _step((outer + 0.05 - side) / 0.03) * _step((side - 0.05) / 0.03) * _step((floor + 0.06 - y) / 0.09)
    # the n-th rib is the same curve moved down, so position gives the rib's number
    spacing = np.float32(0.142)
    back = (y + 0.10 + 0.05 * x - 1.25 * (side - 0.28) ** 2 * (1 + 0.5 * y)) / spacing
    front = (y - 0.05 - 0.62 * (0.62 - side) + 0.5 * (0.62 - side) ** 2) / spacing
    bone = bone + 0.11 * anatomy.ribs * cage * _rib(back)
    bone = bone + 0.05 * anatomy.ribs * cage * _step((side - 0.3) / 0.08) * _rib(front)
    collar = y + 0.62 + 0.3 * (side - 0.1) - 0.34 * np.clip(side - 0.25, 0, None) ** 2
    bone = bone + 0.22 * _step((0.032 - np.abs(collar)) / 0.012) * _step((side - 0.09) / 0.03) * (side < 1.2)
    blade = np.hypot((side - 0.86) / 0.2, (y + 0.28) / 0.38)
    bone = bone + 0.09 * _step((1 - blade) / 0.12)
    arm = np.abs(side - 1.08 - 0.12 * y)
    return np.asarray(bone + 0.25 * _step((0.09 - arm) / 0.02) * _step((y + 0.6) / 0.06), dtype=np.float32)


def _rib(number: Floats) -> Floats:
    """Return a band at each whole number; its two edges are a little denser than its middle (cortical bone)."""
    off = np.abs(number - np.rint(number))
    return np.asarray(_step((0.19 - off) / 0.05) * (0.75 + 0.5 * _bump((off - 0.15) / 0.05)), dtype=np.float32)


def _hila(side: Floats, y: Floats) -> Floats:
    return np.float32(0.2) * _bump(np.hypot((side - 0.2) / 0.09, (y + 0.06) / 0.17))


def _vessels(anatomy: Anatomy, x: Floats, y: Floats) -> Floats:
    """Draw vessels from each hilum outward, thinner with distance; some point at the viewer and look like dots."""
    rng = np.random.default_rng(anatomy.vessels)
    rows, columns = x.shape
    thick, thin = np.zeros_like(x), np.zeros_like(x)
    origin, step_x, step_y = (x[0, 0], y[0, 0]), x[0, -1] - x[0, 0], y[-1, 0] - y[0, 0]
    for sign in (-1, 1):
        count, length = 22, 36
        heading = rng.uniform(-1.45, 1.45, count)[:, None] + np.cumsum(rng.normal(0, 0.07, (count, length)), axis=1)
        reach = rng.uniform(0.25, 0.62, count)[:, None] / length
        px = sign * (0.17 + np.cumsum(np.cos(heading) * reach, axis=1))
        py = -0.05 + np.cumsum(np.sin(heading) * reach, axis=1)
        column = np.rint((px - origin[0]) / step_x * (columns - 1)).astype(int)
        row = np.rint((py - origin[1]) / step_y * (rows - 1)).astype(int)
        fade = np.broadcast_to(np.linspace(1.0, 0.25, length), row.shape)
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        half = np.broadcast_to((np.arange(length) < length // 2), row.shape)
        np.maximum.at(thick, (row[inside & half], column[inside & half]), fade[inside & half].astype(np.float32))
        np.maximum.at(thin, (row[inside], column[inside]), fade[inside].astype(np.float32))
        ends = rng.integers(0, count, 5), rng.integers(4, length - 12, 5)
        for r, c in zip(row[ends], column[ends], strict=True):
            if 0 <= r < rows and 0 <= c < columns:
                thick[r, c] += 2.5
    scale = rows / 160
    tree = 0.45 * gaussian_filter(thick, 1.5 * scale) + 0.3 * gaussian_filter(thin, 0.75 * scale)
    return np.asarray(tree, dtype=np.float32)


def _lesion(lesion: Lesion, x: Floats, y: Floats, pixels: np.float32) -> Floats:
    away = np.hypot(x - lesion.place[0], y - lesion.place[1])
    if lesion.kind == "nodule":
        shape = _step((lesion.radius - away) / (0.3 * lesion.radius))
    elif lesion.kind == "cavity":
        wall = (away - 0.72 * lesion.radius) / (0.28 * lesion.radius)
        shape = _bump(wall) - np.float32(0.25) * _step((0.5 * lesion.radius - away) / 0.02)
    else:
        rng = np.random.default_rng(lesion.texture)
        cloud = gaussian_filter(rng.standard_normal(x.shape).astype(np.float32), 0.05 * float(pixels))
        cloud = cloud / np.float32(cloud.std())
        shape = _bump(away / lesion.radius) * np.clip(np.float32(0.75) + np.float32(0.45) * cloud, 0, None)
    return np.asarray(np.float32(lesion.density) * shape, dtype=np.float32)
