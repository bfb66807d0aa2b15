"""Parse the bytes of a file into a pydicom data set, without log lines; every fault becomes a ``StudyError``.

Real headers are incomplete and wrong. Optional values are read through ``text``, ``numbers`` and ``whole``, which
return an empty result for a value that is absent or malformed. Required values are read inside ``refusing``.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from fedward.errors import FedwardError, StudyError
from fedward.files import here

_THIRD_PARTY_LOGGERS = ("pydicom", "pylibjpeg", "openjpeg", "libjpeg", "rle", "nibabel")
_PADDING = " \t\r\n\0"
_TEXT_VR = frozenset({"AE", "AS", "CS", "DA", "DS", "IS", "LO", "SH", "TM", "UI"})
_BARE_STARTS = (b"\x08\x00", b"\x02\x00", b"\x00\x08", b"\x00\x02")
"""First bytes of a data set without the 128-byte preamble: group 0002 or 0008, in either byte order."""
_SYNTAXES = {
    (True, True): ImplicitVRLittleEndian,
    (False, True): ExplicitVRLittleEndian,
    (False, False): ExplicitVRBigEndian,
}
"""Encoding that a reader found (implicit VR, little endian) -> transfer syntax of uncompressed pixels in it."""


class _Silence:
    """Count of threads inside ``quiet``: the first to enter silences the loggers, the last to leave restores them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._warnings: Any = None
        self._levels: dict[str, int] = {}

    def enter(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._warnings = warnings.catch_warnings()
                self._warnings.__enter__()
                warnings.simplefilter("ignore")
                for name in _THIRD_PARTY_LOGGERS:
                    self._levels[name] = logging.getLogger(name).level
                    logging.getLogger(name).setLevel(logging.CRITICAL + 1)

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._warnings.__exit__(None, None, None)
                for name, level in self._levels.items():
                    logging.getLogger(name).setLevel(level)


_silence = _Silence()


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress warnings and log lines of the reader libraries: they quote header values, such as patients' names.

    May be nested and entered by several threads at once.
    """
    _silence.enter()
    try:
        yield
    finally:
        _silence.leave()


def silence() -> None:
    """Silence as ``quiet`` does, for the rest of this process (a worker process)."""
    _silence.enter()


@contextmanager
def refusing(reason: str, detail: str = "") -> Iterator[None]:
    """Turn any exception of a reader or decoder into ``StudyError(reason)``.

    The detail names the exception's class, not its message: the message may quote the header. Fedward's own errors
    and requests to stop pass through. (A panic in pylibjpeg's Rust decoder is not an ``Exception``.)
    """
    try:
        with quiet():
            yield
    except (FedwardError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as fault:
        raise StudyError(reason, f"{detail}: {type(fault).__name__}" if detail else type(fault).__name__) from fault


def read_bytes(path: Path) -> bytes:
    """Return the whole file. Raises ``StudyError("unreadable")`` if it cannot be opened or is not a regular file.

    Args:
        path: a folder, and below it a name as the manifest has it, the same in every locale.
    """
    path = here(path)
    try:
        if not path.is_file():
            raise StudyError("unreadable", "no such file" if not path.exists() else "not a regular file")
        return path.read_bytes()
    except OSError as fault:
        raise StudyError("unreadable", fault.strerror or type(fault).__name__) from None


def parse(data: bytes) -> Dataset:
    """Parse a DICOM file held in memory, also without preamble if its first bytes are those of a data set.

    A file without TransferSyntaxUID (0002,0010) gets the one of its encoding; none, if its pixels are compressed.

    Raises:
        StudyError: "unreadable" for a file that is not DICOM; "truncated" for a file that ends inside an element.
    """
    if not data:
        raise StudyError("unreadable", "the file is empty")
    with refusing("unreadable", "the header cannot be read"):
        try:
            header = dcmread(BytesIO(data))
            if "TransferSyntaxUID" in header.file_meta and syntax_of(header) is None:
                header = dcmread(BytesIO(_without_meta(data)), force=True)  # read in an encoding that was not found
            return _with_syntax(header)
        except InvalidDicomError:
            if not data.startswith(_BARE_STARTS):
                raise StudyError("unreadable", "neither DICOM nor NIfTI") from None
            return _with_syntax(dcmread(BytesIO(data), force=True))
        except EOFError:
            raise StudyError("truncated", "the file ends inside an element") from None


def syntax_of(header: Dataset) -> UID | None:
    """Return the transfer syntax of a parsed file, or None where it is unknown."""
    found: UID | None = getattr(getattr(header, "file_meta", None), "TransferSyntaxUID", None)
    return found or None


def is_little_endian(header: Dataset) -> bool:
    """True unless the transfer syntax is known to be big-endian."""
    return syntax_of(header) != ExplicitVRBigEndian


def is_there(dataset: Dataset, keyword: str) -> bool:
    """True if a data set has an element, empty or not; a tenth of the cost of ``keyword in dataset``."""
    return _tag(keyword) in dataset.keys()  # noqa: SIM118 - the data set's own test converts the keyword


def is_stated(dataset: Dataset, keyword: str) -> bool:
    """True if an element is there and not empty, even if its value is malformed."""
    if not is_there(dataset, keyword):
        return False
    with suppress(Exception):  # a value that cannot be converted is stated
        raw: object = dataset.get_item(_tag(keyword))
        if isinstance(raw, RawDataElement):
            return bool((raw.value or b"").strip(_PADDING.encode() if _is_text(keyword) else b""))
        return raw is not None and getattr(raw, "value", None) not in (None, "", b"", [])
    return True


def named(keyword: str) -> str:
    """Return an element's keyword with its tag."""
    tag = _tag(keyword)
    return f"{keyword} ({tag.group:04X},{tag.element:04X})"


def required(dataset: Dataset, keyword: str) -> int:
    """Return a required whole number of one value.

    Raises:
        StudyError: "undecodable", naming the element, where it is absent, malformed or has several values.
    """
    raw: object = dataset.get_item(_tag(keyword))
    if isinstance(raw, RawDataElement) and raw.VR in ("US", None) and raw.length == 2 and raw.value is not None:
        return int.from_bytes(raw.value, "little" if raw.is_little_endian else "big")
    found = numbers(dataset, keyword)
    if len(found) == 1 and found[0] == int(found[0]):
        return int(found[0])
    if not is_stated(dataset, keyword):
        fault = "empty" if is_there(dataset, keyword) else "absent"
        raise StudyError("undecodable", f"{named(keyword)} is {fault}")
    raise StudyError("undecodable", f"{named(keyword)} is not one whole number")


def value(dataset: Dataset, keyword: str) -> Any:
    """Return an optional element's value, or None where it is absent, empty or malformed."""
    if not is_there(dataset, keyword):
        return None
    with suppress(Exception):  # an optional value that cannot be read counts as absent
        found = dataset.get(keyword)
        return None if found is None or found == "" else found
    return None


def plain(dataset: Dataset, keyword: str) -> str | None:
    """Return an optional element of a text VR from its raw bytes; None if it is not ASCII or is already converted.

    pydicom's conversion and validation of values costs more than all other work of the index on a header.
    """
    with suppress(Exception):  # the caller then uses the slow conversion
        raw: object = dataset.get_item(_tag(keyword))
        bare = raw.value if isinstance(raw, RawDataElement) else None
        if isinstance(bare, bytes) and bare.isascii() and b"\x1b" not in bare and _is_text(keyword):
            return bare.decode("ascii").strip(_PADDING)
    return None


def text(dataset: Dataset, keyword: str) -> str:
    """Return an optional text value without surrounding blanks and NULs; "" where there is none."""
    if (found := plain(dataset, keyword)) is not None:
        return found
    found = value(dataset, keyword)
    with suppress(Exception):  # a value whose own str() fails counts as absent
        return "" if found is None else str(found).strip(_PADDING)
    return ""


def numbers(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """Return an optional value as numbers, one or more; () where there is none or one is not a finite number."""
    if not is_there(dataset, keyword):
        return ()
    with suppress(Exception):  # a malformed decimal string counts as absent
        bare = plain(dataset, keyword)
        found = value(dataset, keyword) if bare is None else bare.split("\\")
        several = [found] if isinstance(found, str | int | float) else list(found)
        numeric = tuple(float(one) for one in several)
        return numeric if all(abs(one) < float("inf") for one in numeric) else ()
    return ()


def whole(dataset: Dataset, keyword: str) -> int | None:
    """Return an optional whole number (the first of several), or None."""
    found = numbers(dataset, keyword)
    return int(found[0]) if found else None


def item(dataset: Dataset, keyword: str) -> Dataset | None:
    """Return the first item of an optional sequence, or None."""
    found = items(dataset, keyword)
    return found[0] if found else None


def items(dataset: Dataset | None, keyword: str) -> list[Dataset]:
    """Return all items of an optional sequence; [] where it is absent or malformed."""
    found = (dataset is not None and value(dataset, keyword)) or []
    with suppress(Exception):  # a sequence that cannot be read counts as absent
        return [one for one in found if isinstance(one, Dataset)]
    return []


@cache
def _tag(keyword: str) -> BaseTag:
    return Tag(tag_for_keyword(keyword) or 0)


@cache
def _is_text(keyword: str) -> bool:
    return dictionary_VR(keyword) in _TEXT_VR


def _without_meta(data: bytes) -> bytes:
    """Return the data set that follows the file meta information, whose first element is its length (PS3.10 7.1)."""
    return data[144 + int.from_bytes(data[140:144], "little") :]


def _with_syntax(header: Dataset) -> Dataset:
    if syntax_of(header) is not None:
        return header
    if getattr(header, "file_meta", None) is None:
        header.file_meta = FileMetaDataset()
    pixels: object = header.get_item("PixelData")
    compressed = getattr(pixels, "length", 0) == 0xFFFF_FFFF or getattr(pixels, "is_undefined_length", False)
    if not compressed and (found := _SYNTAXES.get(header.original_encoding)) is not None:  # type: ignore[arg-type]
        header.file_meta.TransferSyntaxUID = found
    return header
