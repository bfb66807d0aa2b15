"""dcmtk's renderer as an oracle for grey values: run it, and put our values on its scale."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedward.dicom.grey import Steps, Window, steps_of
from fedward.dicom.header import parse
from fedward.dicom.lut import Table
from fedward.dicom.pixels import decode
from fedward.dicom.verdict import chosen

PROGRAMS = ("dcm2pnm", "dcmj2pnm", "dcml2pnm")
"""The same renderer: with no codec but RLE, with JPEG, with JPEG-LS."""
TOP = 65_535
"""The greatest value of its output."""


@dataclass(frozen=True)
class Ours:
    """Our grey values of the first frame: float64, NaN for background.

    ``steps`` made them, None for colour; ``levels`` is the range of the stored values.
    """

    grey: np.ndarray
    steps: Steps | None
    levels: float


def ours(data: bytes) -> Ours:
    """Decode a file; raises ``StudyError`` as the index does."""
    header = parse(data)
    stored = decode(header)
    if stored.colour:
        return Ours(stored.values.astype(np.float64), None, stored.high - stored.low)
    frames = stored.values.shape[0] if stored.values.ndim == 3 else 1
    steps = chosen(stored.values, steps_of(header, low=stored.low, high=stored.high, frames=frames))
    grey = steps.apply(stored.values).astype(np.float64)
    return Ours(grey if grey.ndim == 2 else grey[0], steps, stored.high - stored.low)


def theirs(path: Path, found: Ours | None = None) -> np.ndarray | None:
    """Render the first frame in 16 bits without overlays; None where every program refuses it.

    The window or VOI LUT is the one that ``found`` used. LINEAR_EXACT, which dcmtk does not know, is LINEAR with
    half a value more in the centre and one more in the width (PS3.3 C.11.2.1.2 and C.11.2.1.3.2).
    """
    options = ["-q", "-O", "+opw"]
    if found is not None and found.steps is None:
        options.append("+G")
    elif found is not None and found.steps is not None and isinstance(found.steps.voi, Table):
        options += ["+Wl", "1"]
    elif found is not None and found.steps is not None and isinstance(window := found.steps.voi, Window):
        exact = window.function == "LINEAR_EXACT"
        centre, width = window.centre + 0.5 * exact, window.width + exact
        options += ["+Ww", repr(centre), repr(width), "+Wfs" if window.function == "SIGMOID" else "+Wfl"]
    for program in PROGRAMS:
        out = subprocess.run([program, *options, path], capture_output=True, check=False).stdout
        if out.startswith(b"P2"):
            words = b" ".join(line for line in out.split(b"\n") if not line.startswith(b"#")).split()
            columns, rows = int(words[1]), int(words[2])
            return np.array(words[4 : 4 + rows * columns], dtype=np.int64).reshape(rows, columns)
    return None


def distance(found: Ours, rendered: np.ndarray) -> float:
    """Greatest difference but for background: in levels of 65,535, and for colour in levels of its own depth.

    dcmtk maps a window's output to 0 to 65,535, and the range of stored or table values to 0 to 65,536, less one where
    it would not fit; newer versions map both in the first way. It rounds luminance to a whole level. What float32
    cannot hold is not counted.
    """
    if rendered.shape != found.grey.shape:
        return float("inf")
    least = min(float(np.nanmax(np.abs(scale - rendered))) for scale in _scales(found))
    if found.steps is None:
        return least * min(1.0, (found.levels + 1) / (TOP + 1))
    low, high = found.steps.range()
    return max(0.0, least - TOP * 2 * float(np.spacing(np.float32(max(abs(low), abs(high))))) / span(found.steps))


def span(steps: Steps) -> float:
    """The difference between black and white, in units of the modality step."""
    low, high = steps.range()
    return min(high - low, steps.voi.width) if isinstance(steps.voi, Window) else high - low


def _scales(found: Ours) -> Iterator[np.ndarray]:
    if found.steps is None:
        yield found.grey / found.levels * TOP
        yield found.grey / (found.levels + 1) * (TOP + 1)
        return
    low, high = found.steps.range()
    if not isinstance(found.steps.voi, Table):
        yield (found.grey - low) / (high - low) * TOP
    if not isinstance(found.steps.voi, Window):
        part = (found.grey - low) / (high - low + 1)
        turned = (high - found.grey) / (high - low + 1)
        yield TOP - turned * (TOP - 1) if found.steps.inverted else part * (TOP + 1)
