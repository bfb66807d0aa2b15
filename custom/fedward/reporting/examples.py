"""Draw a segmentation's worst, middle and best validation image with outlines, for the hospital's copy of a report.

The pictures show patients. They are written into the hospital's own run folder, no answer to a server has a field for
them, and their file names contain only the rank.
"""

from __future__ import annotations

import base64
import json
import logging
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward.errors import FedwardError
from fedward.files import write_atomic
from fedward.validation.outlines import RANKS, Outlined

FOLDER, INDEX_FILE = "examples", "examples.json"
SIDE = 256
"""Smallest shorter side of a picture, in pixels."""
TRUE_RGB, PREDICTED_RGB = (90, 210, 200), (255, 150, 60)
_DASH = 3
_log = logging.getLogger("fedward.examples")


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One picture for a page: ``uri`` holds the PNG itself."""

    rank: str
    dice: float
    uri: str


def picture(one: Outlined) -> bytes:
    """Return a PNG: grey image, true outline solid, predicted outline dashed; for a volume, its fullest slice.

    Raises:
        ValueError: image and masks of different shapes, or of neither two nor three axes.
    """
    if not one.image.shape == one.truth.shape == one.predicted.shape or one.image.ndim not in (2, 3):
        raise ValueError("image and masks need one shape of two or three axes")
    image, truth, predicted = (np.asarray(part) for part in (one.image, one.truth, one.predicted))
    if image.ndim == 3:
        slice_ = int(np.argmax((truth > 0).reshape(len(truth), -1).sum(1)))
        image, truth, predicted = image[slice_], truth[slice_], predicted[slice_]
    factor = max(1, math.ceil(SIDE / min(image.shape)))
    grey, truth, predicted = (
        np.kron(part, np.ones((factor, factor), part.dtype)) for part in (image, truth, predicted)
    )
    drawn = np.repeat(_bytes(grey)[..., np.newaxis], 3, axis=2)
    down, along = np.indices(grey.shape)
    drawn[_outline(truth)] = TRUE_RGB
    drawn[_outline(predicted) & ((down + along) // _DASH % 2 == 0)] = PREDICTED_RGB
    return png(drawn)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode (H, W, 3) red, green and blue as a PNG file; ISO/IEC 15948, sections 5 and 11.2."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in np.ascontiguousarray(pixels, dtype=np.uint8))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in chunks)


def write_examples(run_folder: Path, found: Sequence[Outlined]) -> None:
    """Write the pictures and their Dice into a hospital's own run folder of a job; write nothing if there are none.

    If the disk refuses them, the hospital's log gets a line; the job's answer is not affected.
    """
    if not found:
        return
    folder = run_folder / FOLDER
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for one in found:
            (folder / f"{one.rank}.png").write_bytes(picture(one))
        write_atomic(folder / INDEX_FILE, json.dumps({one.rank: round(one.dice, 4) for one in found}) + "\n")
    except OSError as error:
        _log.warning("%s: example images are not written: %s", folder, error.strerror)


def read_examples(run_folder: Path) -> tuple[Example, ...]:
    """Read the pictures that ``write_examples`` wrote into a run folder, worst first.

    Raises:
        FedwardError: the folder holds none, or they are damaged.
    """
    folder = run_folder / FOLDER
    remedy = "give this hospital's own run folder of a segmentation job that ended, KIT/JOB_ID"
    try:
        dices = json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))
        return tuple(
            Example(rank=rank, dice=float(dices[rank]), uri=_uri((folder / f"{rank}.png").read_bytes()))
            for rank in RANKS
            if rank in dices
        )
    except OSError as error:
        raise FedwardError("no example images", where=folder, value=error.strerror, remedy=remedy) from None
    except (ValueError, TypeError):
        raise FedwardError("example images are not as they were written", where=folder, remedy=remedy) from None


def _uri(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _bytes(grey: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale the 1st to 99th percentile to 0 to 255; a flat image is black."""
    low, high = np.percentile(grey, (1, 99))
    scaled = np.clip((grey - low) / (high - low), 0, 1) if high > low else np.zeros(grey.shape)
    return np.round(255 * scaled).astype(np.uint8)


def _outline(mask: NDArray[Any]) -> NDArray[np.bool_]:
    """Return the pixels of a structure that touch another number, or the edge of the image."""
    padded = np.pad(mask, 1)
    middle = padded[1:-1, 1:-1]
    sides = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    edge: NDArray[np.bool_] = (middle > 0) & np.logical_or.reduce([middle != side for side in sides])
    return edge
