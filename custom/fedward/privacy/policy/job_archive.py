"""Read a job's folder as bytes, from a zip archive or disk, within fixed limits; unpack no file and follow no link.

A job has a dozen small files, and at most one large one, the model that it starts from. The constants below bound
number and size before and while a byte is read. So an archive that grows when unpacked, or a folder of a million
entries, costs no more than a refusal.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fedward.errors import JobError
from fedward.settings import LARGEST_START, START_FILE

ENTRIES = 32
"""Largest number of files and folders of a job, signatures included."""
FILE_BYTES = 2**20
"""Largest number of bytes of one file but the start; a job's settings take a few thousand."""
ARCHIVE_BYTES = 2**21 + LARGEST_START
"""Largest number of bytes of a whole job, packed and unpacked; without the start they are 2 MiB."""
NAME_CHARACTERS = 200
_REMEDY = "export the job with `fedward job export JOB` and submit that folder"
_PLAIN = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_ENCRYPTED = 0x1


@dataclass(frozen=True, slots=True)
class Contents:
    """Content of a folder.

    Attributes:
        files: bytes by path below the folder, with ``/``.
        folders: every folder below it, including those in the files' own paths.
    """

    files: Mapping[str, bytes]
    folders: frozenset[str]


def read_archive(data: bytes, *, below: str = "") -> Contents:
    """Read a zip archive.

    Args:
        data: the archive.
        below: folder in it that must contain everything; paths are relative to it. "": none.

    Raises:
        JobError: not a zip archive; too large, packed or unpacked; too many entries; or a name that is absolute, has
            ``..``, is no plain path, comes twice (ignoring case), is below another folder, is a link or a device, or is
            encrypted.
    """
    if len(data) > ARCHIVE_BYTES:
        raise _refused("job is larger than a job can be")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _contents(archive, below)
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError, LookupError):
        raise _refused("job is not a zip archive that can be read") from None


def read_archive_file(path: Path, *, below: str = "") -> Contents:
    """Read a zip archive from a file, but no more of it than ``ARCHIVE_BYTES``.

    Raises:
        JobError: as ``read_archive``, or the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(ARCHIVE_BYTES + 1)
    except OSError:
        raise _refused("job cannot be read") from None
    return read_archive(data, below=below)


def read_folder(folder: Path) -> Contents:
    """Read a folder on disk.

    Raises:
        JobError: the folder or anything in it is a link or no plain file, it holds too much, or it cannot be read.
    """
    files: dict[str, bytes] = {}
    folders: set[str] = set()
    size = 0
    try:
        if not stat.S_ISDIR(os.lstat(folder).st_mode):
            raise _refused("job is not a folder")
        for number, entry in enumerate(_walk(folder), start=1):
            if number > ENTRIES:
                raise _refused("job has more files than a job can have")
            name, path = entry
            kind = os.lstat(path).st_mode
            if stat.S_ISDIR(kind):
                folders.add(name)
            elif stat.S_ISREG(kind):
                files[name] = _bytes(path)
                size += len(files[name])
            else:
                raise _refused("job has a link or a device")
            if size > ARCHIVE_BYTES:
                raise _refused("job is larger than a job can be")
    except OSError:
        raise _refused("job cannot be read") from None
    _require_small(files)
    return Contents(files, frozenset(folders))


def _walk(folder: Path, above: str = "") -> Iterator[tuple[str, Path]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f"{above}{entry.name}"
            yield name, Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path), f"{name}/")


def _bytes(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(_most(path.name) + 1)
    if len(content) > _most(path.name):
        raise _refused("job has a file that is larger than one can be")
    return content


def _contents(archive: zipfile.ZipFile, below: str) -> Contents:
    entries = archive.infolist()
    if len(entries) > ENTRIES:
        raise _refused("job has more files than a job can have")
    files: dict[str, bytes] = {}
    folders: set[str] = set()
    seen: set[str] = set()
    left = ARCHIVE_BYTES
    for entry in entries:
        name = _name(entry, below)
        if name.casefold() in seen:
            raise _refused("job has a file twice")
        seen.add(name.casefold())
        path = PurePosixPath(name)
        folders.update(str(above) for above in path.parents if str(above) != ".")
        if entry.is_dir():
            if entry.file_size:
                raise _refused("job has a folder with content")
            if name:
                folders.add(name)
            continue
        files[name] = _unpacked(archive, entry, min(_most(path.name), left))
        left -= len(files[name])
    if folders & set(files):
        raise _refused("job has a file twice")
    _require_small(files)
    return Contents(files, frozenset(folders))


def _most(name: str) -> int:
    """Return the largest number of bytes of a file of that name."""
    return LARGEST_START if name == START_FILE else FILE_BYTES


def _require_small(files: Mapping[str, bytes]) -> None:
    """Refuse several large files: a job has one start."""
    starts = [content for name, content in files.items() if PurePosixPath(name).name == START_FILE]
    if len(starts) > 1 or sum(map(len, files.values())) - sum(map(len, starts)) > ARCHIVE_BYTES - LARGEST_START:
        raise _refused("job is larger than a job can be")


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    if entry.flag_bits & _ENCRYPTED or entry.compress_type not in _PLAIN or entry.file_size > most:
        raise _refused("job has a file that is larger than one can be, or packed in another way")
    with archive.open(entry) as file:
        content = file.read(most + 1)
        if len(content) > most or len(content) != entry.file_size or file.read(1):
            raise _refused("job has a file that is larger than one can be, or packed in another way")
    return content


def _name(entry: zipfile.ZipInfo, below: str) -> str:
    """Return the entry's path below ``below``; refuse every name that is not in the one plain form."""
    name, kind = entry.filename, entry.external_attr >> 16
    if entry.orig_filename != name or len(name) > NAME_CHARACTERS or not name.isascii() or not name.isprintable():
        raise _refused("job has a name that a job does not have")
    if stat.S_IFMT(kind) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _refused("job has a link or a device")
    if (stat.S_IFMT(kind) == stat.S_IFDIR) != entry.is_dir() and stat.S_IFMT(kind):
        raise _refused("job has a link or a device")
    plain = name.removesuffix("/") if entry.is_dir() else name
    if "\\" in plain or any(part in ("", ".", "..") for part in plain.split("/")):
        raise _refused("job has a name that a job does not have")
    if not below:
        return plain
    if plain == below and entry.is_dir():
        return ""
    if not plain.startswith(f"{below}/"):
        raise _refused("job has a name that a job does not have")
    return plain.removeprefix(f"{below}/")


def _refused(what: str) -> JobError:
    return JobError(what, remedy=_REMEDY)
