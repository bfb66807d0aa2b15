"""Store fetched instances in the image folder, with a small file that lists the complete series.

Layout: ``<study>/<series>/<instance>.dcm`` under pseudonyms, and ``.archive.jsonl``: the key's fingerprint and the
table's edition, then a line for each series that was fetched completely. A file is written whole or not at all: under
another name, flushed to the disk, then renamed. The files on disk decide; the small file only saves transfers.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from fedward.errors import CohortError
from fedward.files import sync
from fedward.indexing.pacs.archive import Series
from fedward.indexing.pacs.profile import EDITION
from fedward.indexing.site_key import SiteKey

STATE = ".archive.jsonl"
_PART = ".part"


class Store:
    """Image folder of one cohort; one process at a time may use it.

    Raises:
        CohortError: the folder holds files that this module did not write, or that belong to another key or edition;
            another process uses it; or it cannot be written.
    """

    def __init__(self, folder: Path, key: SiteKey) -> None:
        self._folder, self._key = folder, key
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / STATE).exists() and any(folder.iterdir()):
                remedy = "name a folder of its own for what comes from the archive"
                raise CohortError("image folder holds files from elsewhere", where=folder, remedy=remedy)
            self._state: IO[str] = (folder / STATE).open("a+", encoding="utf-8")
        except OSError as error:
            raise _unwritable(folder, error) from None
        try:
            fcntl.flock(self._state, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._state.close()
            remedy = "wait for the other run of `fedward site index`"
            raise CohortError("another process fetches into this folder", where=folder, remedy=remedy) from None
        try:
            self._whole = self._read()
            for left in folder.glob(f"*/*/.*{_PART}"):
                left.unlink()
        except BaseException:
            self._state.close()
            raise

    def close(self) -> None:
        """Release the folder for another process."""
        self._state.close()

    def pseudonyms(self, series: Series) -> tuple[str, str]:
        """Return the pseudonyms of study and series."""
        return self._key.pseudonym("study", series.study), self._key.pseudonym("series", series.uid)

    def has(self, series: Series, instance: str) -> bool:
        """True if the instance is in the folder."""
        return self._path(series, instance).is_file()

    def whole(self, series: Series) -> bool:
        """True if all instances that the archive now counts were fetched and are still in the folder."""
        _, name = self.pseudonyms(series)
        if series.instances is None or self._whole.get(name) != series.instances:
            return False
        return sum(1 for _ in self._place(series).glob("*.dcm")) == series.instances

    def beside(self, series: Series, instances: Iterable[str]) -> int:
        """Count the files of a series that are not in ``instances``."""
        named = {self._path(series, one).name for one in instances}
        return sum(1 for file in self._place(series).glob("*.dcm") if file.name not in named)

    def write(self, series: Series, instance: str, data: bytes) -> None:
        """Write one instance, whole or not at all. Raises ``OSError``."""
        path = self._path(series, instance)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}{_PART}")
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)

    def mark_whole(self, series: Series, instances: int) -> None:
        """Record that a series is complete with this many instances."""
        _, name = self.pseudonyms(series)
        sync(self._place(series))
        self._append({"series": name, "instances": instances})
        self._whole[name] = instances

    def others(self, found: set[tuple[str, str]]) -> int:
        """Count the instances here whose series are not in ``found``, pairs of pseudonyms."""
        places = [place for place in self._folder.glob("*/*") if (place.parent.name, place.name) not in found]
        return sum(1 for place in places for _ in place.glob("*.dcm"))

    def _place(self, series: Series) -> Path:
        study, name = self.pseudonyms(series)
        return self._folder / study / name

    def _path(self, series: Series, instance: str) -> Path:
        return self._place(series) / f"{self._key.pseudonym('image', instance)}.dcm"

    def _read(self) -> dict[str, int]:
        """Read series by pseudonym; write the first line if there is none. A truncated line is ignored."""
        head = {"format": 1, "key": self._key.fingerprint, "table": EDITION}
        self._state.seek(0)
        lines = self._state.read().split("\n")
        if len(lines) == 1:
            self._state.truncate(0)
            self._append(head)
            return {}
        if lines[0] != json.dumps(head):
            remedy = "move its content away and fetch again: one folder holds pseudonyms of one key and one table"
            raise CohortError("fetched under another site key or edition", where=self._folder, remedy=remedy)
        if lines[-1]:
            self._state.write("\n")
        whole: dict[str, int] = {}
        for line in lines[1:]:
            try:
                entry = json.loads(line)
                whole[str(entry["series"])] = int(entry["instances"])
            except (ValueError, KeyError, TypeError):
                continue
        return whole

    def _append(self, entry: dict[str, Any]) -> None:
        self._state.write(json.dumps(entry) + "\n")
        self._state.flush()
        os.fsync(self._state.fileno())


def _unwritable(folder: Path, error: OSError) -> CohortError:
    remedy = "make room, or correct images in site.toml"
    return CohortError("image folder cannot be written", where=folder, value=error.strerror, remedy=remedy)
