"""Write and read the cohort manifest, one row an image: ``fedward site index`` writes it, jobs read it.

It never leaves the hospital. On disk it is a folder: ``manifest.jsonl`` (one JSON object a line: the header, then the
rows sorted by image), ``cohort.json`` (the header again, for people), ``quarantine.csv`` (file, reason, detail).
Patient, study and image are keyed pseudonyms (HMAC-SHA256 under the site's key, RFC 2104), never an identifier from a
header.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, NoReturn

from pydantic import TypeAdapter

from fedward.dicom.placement import SAME, Grid
from fedward.errors import CohortError
from fedward.files import write_atomic

FORMAT = 2
HEADER, ROWS, QUARANTINE = "cohort.json", "manifest.jsonl", "quarantine.csv"

Split = Literal["train", "validation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskFile:
    """Mask file of an image.

    Attributes:
        path: path below the cohort's mask folder.
        format: file format.
        frames: for a DICOM SEG, the numbers, from 0, of its frames that lie on this image.
        slices: slice, from 0, of each of ``frames``.
        grids: ``placement.Grid`` of each of ``frames``; () if each is stored as the image is.
        structures: structures that the file describes, by ``structure_key``; True for one that marks a pixel of this
            image. A NIfTI mask describes the values that it holds.
        sha256: hash of the file whose frames were placed.
    """

    path: str
    format: Literal["dicom-seg", "nifti"]
    frames: tuple[int, ...] = ()
    slices: tuple[int, ...] = ()
    grids: tuple[Grid, ...] = ()
    structures: dict[str, bool]
    sha256: str

    @property
    def placed(self) -> dict[int, tuple[int, Grid]]:
        """Slice and grid of each frame that lies on this image."""
        grids = self.grids or (SAME,) * len(self.frames)
        return {frame: (slice_, grid) for frame, slice_, grid in zip(self.frames, self.slices, grids, strict=True)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Image of a cohort.

    Attributes:
        image, patient, study: keyed pseudonyms, 16 hexadecimal digits.
        split: the patient's side of the split.
        format: file format of ``paths``.
        paths: files below the cohort's image folder; several, in order of position, for a DICOM series.
        shape: ``(rows, columns)``, or ``(slices, rows, columns)`` for a volume.
        spacing_mm: one number an axis of ``shape``, or None where the header has none.
        labels: label column -> value as the hospital wrote it; a column without a value is absent.
        masks: mask files; no two describe marks of one structure.
        modality, manufacturer, sex, age_decade: from the header, "" or None if absent; age is cut to ten years.
        flags: remarks that did not exclude the image, such as "burned-in-annotation".
        sha256: of the image's file; for several files, of their SHA-256 sums in order.
        sequence: the hospital's name of the sequence, by its own rules; "" where it has none for this image.
        grid: name of the grid that the images of a study's sequences share; "" where ``sequence`` is.
    """

    image: str
    patient: str
    study: str
    split: Split
    format: Literal["dicom", "dicom-series", "nifti"]
    paths: tuple[str, ...]
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...] | None
    labels: dict[str, str]
    masks: tuple[MaskFile, ...]
    modality: str
    manufacturer: str
    sex: str
    age_decade: int | None
    flags: tuple[str, ...]
    sha256: str
    sequence: str = ""
    grid: str = ""

    @property
    def mask(self) -> str | None:
        """Path of the first mask file, None if there is none."""
        return self.masks[0].path if self.masks else None

    @property
    def structures(self) -> frozenset[str]:
        """Structures that mark a pixel of this image, by ``structure_key``."""
        return frozenset(name for mask in self.masks for name, marked in mask.structures.items() if marked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Indexed cohort.

    Attributes:
        cohort, site: names from ``site.toml``.
        images_root, masks_root: base folders of the rows' paths.
        rows: sorted by ``image``.
        quarantined: number of files in quarantine.
        quarantined_patients: number of patients of the quarantined image files, as far as the files name a patient; 0
            in an index of a version without this count.
        split_version: number of the hospital's split that the rows have; it grows when patients change sides. 0 in an
            index of a version without it.
        content_hash: SHA-256 of the rows; equal for equal cohorts in any folder.
    """

    cohort: str
    site: str
    images_root: Path
    masks_root: Path | None
    rows: tuple[Row, ...]
    quarantined: int
    quarantined_patients: int = 0
    split_version: int = 0

    @property
    def content_hash(self) -> str:
        return _hash(_line(row) for row in self.rows)

    def patients(self, split: Split | None = None) -> int:
        """Count the different patients, in one split or in both."""
        return len({row.patient for row in self.rows if split is None or row.split == split})


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write header and rows, all of them or none: if the run is killed, the last manifest stays whole.

    Raises:
        OSError: the files cannot be written.
    """
    header = {
        "format": FORMAT,
        "cohort": manifest.cohort,
        "site": manifest.site,
        "images_root": str(manifest.images_root),
        "masks_root": None if manifest.masks_root is None else str(manifest.masks_root),
        "images": len(manifest.rows),
        "patients": manifest.patients(),
        "validation_patients": manifest.patients("validation"),
        "quarantined": manifest.quarantined,
        "quarantined_patients": manifest.quarantined_patients,
        "split_version": manifest.split_version,
        "content_hash": _hash(lines := [_line(row) for row in manifest.rows]),
    }
    write_atomic(folder / ROWS, "".join([json.dumps(header) + "\n", *lines]))
    write_atomic(folder / HEADER, json.dumps(header, indent=2) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """Read what ``write_manifest`` wrote; refuse a manifest that is absent, of another format, or changed by hand."""
    try:
        lines = (folder / ROWS).read_text(encoding="utf-8").splitlines()
        header = json.loads(lines[0])
        if header["format"] != FORMAT:
            raise CohortError("index of another format", where=folder, value=header["format"], remedy=_REINDEX)
        _forms().header.validate_json(_as_utf8(header), strict=True)
        manifest = Manifest(
            cohort=header["cohort"],
            site=header["site"],
            images_root=Path(header["images_root"]),
            masks_root=None if header["masks_root"] is None else Path(header["masks_root"]),
            rows=tuple(map(_row, lines[1:])),
            quarantined=header["quarantined"],
            quarantined_patients=header.get("quarantined_patients", 0),
            split_version=header.get("split_version", 0),
        )
        if manifest.content_hash != header["content_hash"]:
            raise CohortError("manifest does not match its content hash", where=folder, remedy=_REINDEX)
    except OSError:
        raise CohortError("no index here", where=folder, remedy=_REINDEX) from None
    except (ValueError, LookupError, TypeError, RecursionError):
        raise CohortError("index cannot be read", where=folder, remedy=_REINDEX) from None
    return manifest


def withdraw_manifest(folder: Path) -> None:
    """Remove header and rows, so that a refused cohort is not read; the quarantine list and the cache stay."""
    for name in (ROWS, HEADER):
        (folder / name).unlink(missing_ok=True)


_NAMES = tuple(sorted(field.name for field in fields(Row)))
_OPTIONAL = frozenset({"sequence", "grid"})
"""Fields of a row that its line leaves out where they are empty, as lines of older versions do."""
_MASK_NAMES = tuple(sorted(field.name for field in fields(MaskFile)))
_REINDEX = "run `fedward site index SITE_TOML`"


def _line(row: Row) -> str:
    content = {name: value for name in _NAMES if (value := getattr(row, name)) or name not in _OPTIONAL}
    content["masks"] = [{name: getattr(mask, name) for name in _MASK_NAMES} for mask in row.masks]
    return json.dumps(content, separators=(",", ":")) + "\n"


def _hash(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    """First line of a manifest, as far as it is read back."""

    cohort: str
    site: str
    images_root: str
    masks_root: str | None
    quarantined: int
    content_hash: str
    quarantined_patients: int = 0
    split_version: int = 0


@dataclass(frozen=True, slots=True)
class _Forms:
    """Types that the JSON of a header and of a row must have."""

    header: TypeAdapter[_Header]
    row: TypeAdapter[Row]


@cache
def _forms() -> _Forms:
    return _Forms(TypeAdapter(_Header), TypeAdapter(Row))


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _as_utf8(content: object) -> bytes:
    """JSON of ``content`` whose types are checked: bytes of a file name that are no UTF-8 stand as a question mark."""
    return json.dumps(content, ensure_ascii=False).encode(errors="replace")


def _row(line: str) -> Row:
    content: dict[str, Any] = json.loads(line, parse_constant=_no_number)
    _forms().row.validate_json(_as_utf8(content), strict=True)
    if not set(_NAMES) - _OPTIONAL <= set(content) <= set(_NAMES):
        raise ValueError("unknown or missing column")
    for name in ("paths", "shape", "flags", "spacing_mm"):
        if isinstance(content[name], list):
            content[name] = tuple(content[name])
    content["masks"] = tuple(_mask(mask) for mask in content["masks"])
    return Row(**content)


def _mask(content: dict[str, Any]) -> MaskFile:
    if not len(content["frames"]) == len(content["slices"]) == (len(content["grids"]) or len(content["frames"])):
        raise ValueError("frames, slices and grids of different numbers")
    return MaskFile(
        **{
            **content,
            "frames": tuple(content["frames"]),
            "slices": tuple(content["slices"]),
            "grids": tuple(tuple(grid) for grid in content["grids"]),
        }
    )
