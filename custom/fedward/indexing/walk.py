"""List every file below a folder, and keep findings in a cache for the next run.

Some files are left out because they are never images: names that start with a dot, ``DICOMDIR`` (table of contents of
a medium), ``Thumbs.db`` and ``desktop.ini``. So are the cohort's own files: label table, index and mask folder. Every
other file is indexed or quarantined. Linked folders are followed once.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import fields
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import fedward
from fedward.dicom.segmentation import FramePlace
from fedward.errors import CohortError
from fedward.files import same_anywhere, write_atomic
from fedward.indexing.quality import FileFacts, Role
from fedward.settings import CohortPolicy

CACHE = "cache.jsonl"
_NEVER = frozenset({"dicomdir", "thumbs.db", "desktop.ini"})
_ROOMS = ("dicom", "indexing")
_READERS = ("pydicom", "pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle", "nibabel")
_FIELDS = tuple(field.name for field in fields(FileFacts))


def walk(root: Path, role: Role, *, without: Collection[Path] = ()) -> list[FileFacts]:
    """List every file below ``root``, by path, with its size and time; no file is read.

    A path is the same text in every locale, so that the cohort's content hash is, too: see ``files.same_anywhere``.

    Raises:
        CohortError: ``root`` is not a folder, or cannot be listed.
    """
    if not root.is_dir():
        what = "no such folder" if not root.exists() else "not a folder"
        raise CohortError(what, where=root, remedy=f"correct the cohort's {role}s in site.toml")
    left_out = {os.path.realpath(path) for path in without}
    real = os.path.realpath(root)
    found = list(_files(real, "", role, left_out, {real}))
    return sorted(found, key=lambda finding: finding.path)


def walks(cohort: CohortPolicy) -> list[tuple[Role, Path, list[Path]]]:
    """Return the arguments of ``walk`` for a cohort, images first: role, root, and paths to leave out."""
    others = [path for path in (cohort.index, cohort.labels) if path is not None]
    if cohort.masks is None or cohort.masks == cohort.images:
        return [("image", cohort.images, others)]
    return [("image", cohort.images, [*others, cohort.masks]), ("mask", cohort.masks, [*others, cohort.images])]


def _files(folder: str, below: str, role: Role, left_out: set[str], visited: set[str]) -> Iterator[FileFacts]:
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        remedy = "let this user list it, or move it away"
        raise CohortError("cannot be listed", where=folder, value=error.strerror, remedy=remedy) from None
    for entry in entries:
        if entry.name.startswith(".") or entry.name.lower() in _NEVER:
            continue
        real = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
        if real in left_out:
            continue
        path = f"{below}{same_anywhere(entry.name)}"
        if entry.is_dir():
            if not entry.is_symlink() or real not in visited:
                yield from _files(real, f"{path}/", role, left_out, visited | {real})
            continue
        try:
            status = entry.stat()
            yield FileFacts(path=path, size=status.st_size, mtime_ns=status.st_mtime_ns, role=role)
        except OSError:  # a broken link: reading it will fail with a reason
            yield FileFacts(path=path, size=-1, mtime_ns=-1, role=role)


def fingerprint(cohort: CohortPolicy, key_fingerprint: str) -> str:
    """Return all that a finding depends on besides the file: gate settings, site key, our code, and other readers."""
    content = {
        "policy": [cohort.modalities, cohort.body_parts, cohort.exclude_burned_in, cohort.volumes, cohort.sequences],
        "one_folder": cohort.masks == cohort.images,
        "key": key_fingerprint,
        "code": _code(),
        "readers": {name: _version(name) for name in _READERS},
    }
    return json.dumps(content, sort_keys=True)


def read_cache(folder: Path, mark: str) -> dict[tuple[Role, str], FileFacts]:
    """Return the last run's findings by role and path; {} if there are none, they are damaged or ``mark`` differs."""
    try:
        lines = (folder / CACHE).read_text(encoding="utf-8").splitlines()
        if not lines or json.loads(lines[0]) != json.loads(mark):
            return {}
        found = [_thaw(json.loads(line)) for line in lines[1:]]
    except (OSError, ValueError, TypeError, KeyError):
        return {}
    return {(finding.role, finding.path): finding for finding in found}


def write_cache(folder: Path, mark: str, findings: Iterable[FileFacts]) -> None:
    """Keep findings for the next run; the file is written whole or not at all and holds only pseudonyms."""
    lines = [mark, *(json.dumps(_freeze(finding), separators=(",", ":")) for finding in findings)]
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / CACHE, "\n".join(lines) + "\n")


def split_known(
    seen: Iterable[FileFacts], cache: Mapping[tuple[Role, str], FileFacts]
) -> tuple[list[FileFacts], list[FileFacts]]:
    """Return the cached findings of unchanged files (same size and time), and the files that must be read."""
    known, fresh = [], []
    for finding in seen:
        before = cache.get((finding.role, finding.path))
        same = before is not None and (before.size, before.mtime_ns) == (finding.size, finding.mtime_ns)
        if before is not None and same and before.reason != "unreadable":
            known.append(before)
        else:
            fresh.append(finding)
    return known, fresh


def _freeze(finding: FileFacts) -> list[Any]:
    content = [getattr(finding, name) for name in _FIELDS]
    content[_FIELDS.index("mask_frames")] = [
        [place.sources, place.position_mm, place.marked] for place in finding.mask_frames
    ]
    return content


def _thaw(content: list[Any]) -> FileFacts:
    given = dict(zip(_FIELDS, content, strict=True))
    for name in (
        "shape",
        "flags",
        "frames",
        "orientation",
        "in_plane_mm",
        "affine",
        "referenced_series",
        "referenced_instances",
        "scan",
    ):
        given[name] = tuple(given[name])
    given["spacing_mm"] = None if given["spacing_mm"] is None else tuple(given["spacing_mm"])
    given["positions_mm"] = tuple(tuple(position) for position in given["positions_mm"])
    given["segments"] = tuple((number, label) for number, label in given["segments"])
    given["mask_frames"] = tuple(
        FramePlace(tuple((instance, frame) for instance, frame in sources), tuple(position), tuple(marked))
        for sources, position, marked in given["mask_frames"]
    )
    return FileFacts(**given)


@cache
def _code() -> str:
    """Return the SHA-256, in hex, of the modules that make findings: a correction of one makes each file be read."""
    whole = hashlib.sha256()
    for room in _ROOMS:
        for path in sorted((Path(fedward.__file__).parent / room).rglob("*.py")):
            whole.update(f"{path.name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
