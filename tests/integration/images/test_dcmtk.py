"""Grey values against dcmtk, which no one here wrote: drawn headers, real odd files and pydicom's own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from fedward.dicom.grey import Rescale
from fedward.dicom.header import parse, quiet
from fedward.errors import StudyError
from tests.support.images.dcmtk import TOP, Ours, distance, ours, span, theirs
from tests.support.images.dicom_files import as_bytes, image
from tests.support.packages import needs

pytestmark = [pytest.mark.integration, pytest.mark.slow]
HEADERS = 2_000
STRICTER = {
    r"HighBit \(0028,0102\) is absent and bits above \d+ are in use": "PS3.3 C.7.6.3: dcmtk assumes BitsStored - 1",
    r"SamplesPerPixel \(0028,0002\) is absent": "PS3.3 C.7.6.3: dcmtk assumes 1",
    r"MONOCHROME\d with 3 samples for each pixel, not 1": "PS3.3 C.7.6.3.1.2: dcmtk assumes 1",
    r"PixelRepresentation \(0028,0103\) is 2, not 0 or 1": "PS3.3 C.7.6.3: dcmtk assumes 0",
    r"PresentationLUTShape .* contradicts MONOCHROME\d": "PS3.3 C.8.11.3: dcmtk follows the shape, others do not",
}
"""Refused here and rendered by dcmtk, in drawn headers: the detail, and what the standard says."""
STRICTER_FILES = {
    r"JPEG Extended \(Process 2 and 4\): RuntimeError": "lossy JPEG of 12 bits has no decoder here",
    r"NumberOfFrames \(0028,0008\) is not a whole number": "PS3.3 C.7.6.6: dcmtk assumes 1",
}
"""The same in real files."""
NO_CODEC = re.compile(r"JPEG 2000|HTJ2K|High-Throughput|JPEG-LS")
"""Transfer syntaxes of which dcmtk's free programs decode none, or not every form."""
LOSSY = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"})


@pytest.fixture(autouse=True)
def _dcmtk() -> None:
    needs("dcmtk")


def test_drawn_headers_give_dcmtks_values_or_both_refuse(tmp_path: Path) -> None:
    with quiet(), ThreadPoolExecutor(2) as pool:
        found = Counter(pool.map(partial(_judged, folder=tmp_path), range(HEADERS)))
    wrong = {kind: count for kind, count in found.items() if kind not in ("equal", "refused", *STRICTER)}
    assert not wrong
    assert set(STRICTER) <= set(found)
    assert found["equal"] > 0.8 * HEADERS
    assert found["refused"] > 0.05 * HEADERS


def test_real_files_give_dcmtks_values_or_both_refuse() -> None:
    folders = [Path(pydicom.__file__).parent / "data" / "test_files"]
    zoo = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "dicom_zoo"
    folders += [zoo] if zoo.is_dir() else []
    files = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    with quiet(), ThreadPoolExecutor(2) as pool:
        found = dict(zip(files, pool.map(_judged_file, files), strict=True))
    wrong = {path.name: kind for path, kind in found.items() if kind not in ("equal", "refused", *STRICTER_FILES)}
    assert not wrong
    assert Counter(found.values())["equal"] > 40


def _judged(seed: int, folder: Path) -> str:
    path = folder / f"{seed}.dcm"
    path.write_bytes(drawn(seed))
    try:
        mine = ours(path.read_bytes())
    except StudyError as refusal:
        return "refused" if theirs(path) is None else _class(refusal, STRICTER)
    rendered = theirs(path, mine)
    if rendered is None:
        return f"{seed}: dcmtk refuses"
    away = distance(mine, rendered)
    path.unlink()
    return "equal" if away <= (1.01 if mine.steps is not None else 2) else f"{seed}: {away:.1f} levels"


def _judged_file(path: Path) -> str:
    data = path.read_bytes()
    try:
        mine = ours(data)
    except StudyError as refusal:
        return "refused" if theirs(path) is None else _class(refusal, STRICTER_FILES)
    header, rendered = parse(data), theirs(path, mine)
    syntax = header.file_meta.TransferSyntaxUID
    if rendered is None:
        return "equal" if _beyond_dcmtk(header, mine) else f"dcmtk refuses {syntax.name}"
    if syntax == ExplicitVRBigEndian and header.BitsAllocated == 32:
        return "equal"  # dcmtk takes the low word first; the files that it wrote itself have the high one first
    away = distance(mine, rendered)
    return "equal" if away <= _allowed(mine, lossy=syntax in LOSSY) else f"{away:.1f} levels"


def _beyond_dcmtk(header: Dataset, mine: Ours) -> bool:
    """True for what its free programs do not read, although the values are certain."""
    syntax = header.file_meta.TransferSyntaxUID
    if "PixelData" not in header or NO_CODEC.search(syntax.name):
        return True
    contradicted = syntax in LOSSY and mine.steps is None  # a JPEG whose own colour model is not the header's
    return contradicted or (header.BitsAllocated == 32 and header["PixelData"].VR == "OB")


def _allowed(mine: Ours, *, lossy: bool) -> float:
    """Levels: one; two stored values where two decoders round; one unit where dcmtk cuts a rescaled fraction off."""
    if mine.steps is None:
        return 3
    rescale = mine.steps.modality
    cut = isinstance(rescale, Rescale) and bool(np.any(rescale.slope % 1) or np.any(rescale.intercept % 1))
    return 1.01 + lossy * 2 * TOP / mine.levels + cut * TOP / span(mine.steps)


def _class(refusal: StudyError, known: Sequence[str] | dict[str, str]) -> str:
    return next((one for one in known if re.search(one, refusal.detail)), refusal.detail)


Pick = Callable[..., Any]
SHAPE = (10, 12)


def drawn(seed: int) -> bytes:
    """A file with a header drawn at random, mostly legal, and noise in every bit of its cells."""
    rng = np.random.default_rng(seed)

    def pick(*options: Any) -> Any:
        return options[rng.integers(len(options))]

    d = image(np.zeros(SHAPE), modality=pick("CR", "DX", "MG", "CT", "MR"), signed=bool(pick(0, 1)))
    d.PhotometricInterpretation = pick("MONOCHROME1", "MONOCHROME2")
    syntax = pick(ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless)
    d.file_meta.TransferSyntaxUID = syntax
    little = syntax != ExplicitVRBigEndian
    if rng.random() < 0.15:
        _colour(d, rng, pick, little=little)
        return as_bytes(d)
    d.BitsAllocated = allocated = pick(8, 16, 16, 16, 32 if little else 16)
    d.BitsStored = stored = int(rng.integers(4, allocated + 1))
    d.HighBit = pick(stored - 1, stored - 1, allocated - 1, int(rng.integers(stored - 1, allocated)))
    _pixels(d, rng.integers(0, 1 << allocated, SHAPE, dtype=np.uint64), pick)
    low, high = _modality(d, *_range(d), rng, pick, little=little)
    _voi(d, low, high, rng, pick, little=little)
    _padding(d, rng, pick)
    if rng.random() < 0.15:
        _fault(d, pick)
    return as_bytes(d)


def _pixels(d: Dataset, cells: np.ndarray, pick: Pick) -> None:
    size, syntax = d.BitsAllocated // 8, d.file_meta.TransferSyntaxUID
    if syntax == RLELossless:
        planes = cells.astype(f">u{size}").tobytes()
        d.PixelData = encapsulate([_rle([planes[byte::size] for byte in range(size)])])
        d["PixelData"].VR = "OB"
        d["PixelData"].is_undefined_length = True
        return
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    d["PixelData"].VR = "OW" if size > 1 or syntax == ImplicitVRLittleEndian else pick("OB", "OW")
    data = cells.astype(f"{order}u{size}").tobytes()
    if d["PixelData"].VR == "OW" and size == 1 and order == ">":  # the low byte of a word comes first
        data = np.frombuffer(data, "<u2").astype(">u2").tobytes()
    d.PixelData = data


def _colour(d: Dataset, rng: np.random.Generator, pick: Pick, *, little: bool) -> None:
    d.PhotometricInterpretation = kind = pick("PALETTE COLOR", "PALETTE COLOR", "RGB", "YBR_FULL")
    d.BitsAllocated = 8 if kind == "YBR_FULL" else pick(8, 16)
    d.BitsStored = d.BitsAllocated if kind != "PALETTE COLOR" else int(rng.integers(4, d.BitsAllocated + 1))
    d.HighBit = d.BitsStored - 1
    shape = SHAPE
    if kind == "PALETTE COLOR":
        form = _form(*_range(d), rng, pick)
        for colour in ("Red", "Green", "Blue"):
            d.add_new(f"{colour}PaletteColorLookupTableDescriptor", form.kind, form.descriptor())
            d.add_new(f"{colour}PaletteColorLookupTableData", "OW", form.words(rng, little=little))
    else:
        d.PixelRepresentation, d.SamplesPerPixel, d.PlanarConfiguration = 0, 3, pick(0, 1)
        shape = (*SHAPE, 3)
        if d.file_meta.TransferSyntaxUID == RLELossless:
            d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    _pixels(d, rng.integers(0, 1 << d.BitsAllocated, shape, dtype=np.uint64), pick)


def _rle(segments: list[bytes]) -> bytes:
    """A frame of literal runs (PS3.5 annex G)."""
    packed = []
    for segment in segments:
        runs = [segment[at : at + 128] for at in range(0, len(segment), 128)]
        body = b"".join(bytes([len(run) - 1]) + run for run in runs)
        packed.append(body + b"\0" * (len(body) % 2))
    starts = np.cumsum([64, *(len(one) for one in packed[:-1])])
    head = np.zeros(16, "<u4")
    head[0], head[1 : len(packed) + 1] = len(packed), starts
    return head.tobytes() + b"".join(packed)


@dataclass(frozen=True)
class Form:
    """How a table is written: number of entries, first input value, bits, whether packed, US or SS."""

    count: int
    first: int
    bits: int
    packed: bool
    kind: str

    def descriptor(self) -> list[int]:
        """pydicom writes the first number as US in both kinds."""
        written = (self.first & 0xFFFF) - 65_536 * (self.kind == "SS" and self.first & 0x8000 > 0)
        return [self.count & 0xFFFF, written, self.bits]

    def words(self, rng: np.random.Generator, *, little: bool) -> bytes:
        entries = rng.integers(0, 1 << self.bits, self.count).astype("u1" if self.packed else "<u2")
        data = entries.tobytes() + b"\0" * (self.packed and self.count % 2)
        return np.frombuffer(data, "<u2").astype("<u2" if little else ">u2").tobytes()


def _form(low: int, high: int, rng: np.random.Generator, pick: Pick) -> Form:
    first = int(rng.integers(max(low, -32_768), min(high, 65_535) + 1))
    first = min(first, 32_767) if low < 0 else first
    bits = pick(8, 8, *range(9, 17))
    count = pick(*range(1, 300), 255, 256, 4096, 40_000, 65_536)
    return Form(count, first, bits, bits == 8 and pick(True, True, False), pick("US", "SS"))


def _table(low: int, high: int, rng: np.random.Generator, pick: Pick, *, little: bool) -> Dataset:
    table, form = Dataset(), _form(low, high, rng, pick)
    table.add_new("LUTDescriptor", form.kind, form.descriptor())
    words = form.words(rng, little=little)
    if form.count < 30_000 and not form.packed and pick(True, False):
        table.add_new("LUTData", "US", np.frombuffer(words, "<u2" if little else ">u2").tolist())
    else:
        table.add_new("LUTData", "OW", words)
    table.ModalityLUTType = "US"
    return table


def _range(d: Dataset) -> tuple[int, int]:
    stored = d.BitsStored
    return (-(1 << stored - 1), (1 << stored - 1) - 1) if d.PixelRepresentation else (0, (1 << stored) - 1)


def _modality(
    d: Dataset, low: int, high: int, rng: np.random.Generator, pick: Pick, *, little: bool
) -> tuple[int, int]:
    """Set the modality step and return the range of what it gives."""
    step = pick("none", "rescale", "rescale", "table")
    if step == "none" or d.BitsStored > 28:  # dcmtk holds what a step gives in 32 bits
        return low, high
    if step == "table" and d.BitsStored <= 16:
        d.ModalityLUTSequence = [_table(low, high, rng, pick, little=little)]
        return 0, (1 << d.ModalityLUTSequence[0].LUTDescriptor[2]) - 1
    d.RescaleSlope, d.RescaleIntercept = pick(1, 1, 2, 3, -1, -2), int(rng.integers(-2000, 2000))
    ends = [int(d.RescaleSlope) * end + int(d.RescaleIntercept) for end in (low, high)]
    return min(ends), max(ends)


def _voi(d: Dataset, low: int, high: int, rng: np.random.Generator, pick: Pick, *, little: bool) -> None:
    step = pick("none", "window", "window", "table")
    if step == "window":
        d.WindowCenter, d.WindowWidth = f"{rng.uniform(low, high):.6g}", f"{rng.uniform(2, high - low + 2):.6g}"
        if (function := pick(None, "LINEAR", "LINEAR_EXACT", "SIGMOID")) is not None:
            d.VOILUTFunction = function
    elif step == "table" and low >= -32_768 and high <= 65_535:
        d.VOILUTSequence = [_table(low, high, rng, pick, little=little)]


def _padding(d: Dataset, rng: np.random.Generator, pick: Pick) -> None:
    kind = "SS" if d.PixelRepresentation else "US"
    ends = [int(one) for one in rng.integers(0, 1 << min(d.BitsStored, 15), 2)]
    if (extent := pick(0, 0, 0, 1, 2)) > 0:
        d.add_new("PixelPaddingValue", kind, ends[0])
    if extent > 1:
        d.add_new("PixelPaddingRangeLimit", kind, ends[0] + (ends[1] - ends[0]) // 4)


def _fault(d: Dataset, pick: Pick) -> None:
    """Break one of the elements that say what a pixel is."""
    name, value = pick(
        ("BitsStored", d.BitsAllocated + 1), ("HighBit", d.BitsAllocated), ("HighBit", d.BitsStored - 2),
        ("PixelRepresentation", 2), ("BitsAllocated", None), ("BitsStored", None), ("HighBit", None),
        ("PixelRepresentation", None), ("Rows", None), ("SamplesPerPixel", None), ("SamplesPerPixel", 3),
        ("PhotometricInterpretation", None), ("PhotometricInterpretation", "HSV"), ("PresentationLUTShape", "INVERSE"),
        ("PresentationLUTShape", "IDENTITY"),
    )  # fmt: skip
    if value is None:
        delattr(d, name)
    else:
        setattr(d, name, value)
