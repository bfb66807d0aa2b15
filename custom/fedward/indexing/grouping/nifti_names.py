"""Compare the names of NIfTI files of one cohort: which image a mask belongs to, and whose patient a file is of.

Names are paths below a folder, without ``.nii`` or ``.nii.gz``. File names alone may repeat in every patient's folder
(``case_1/imaging.nii.gz``), so folders count wherever both sides have them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

from fedward.dicom.nifti import stem

_CHANNEL = re.compile(r"_[0-9]{4}$")


def parts(path: str) -> tuple[str, ...]:
    """Return the folders of a path and its file's stem."""
    return (*path.split("/")[:-1], stem(path))


class NiftiNames:
    """NIfTI images of a cohort, those in quarantine among them, by their names."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for path in sorted(paths):
            self._by_stem[stem(path)].append(path)

    def of(self, other: str) -> list[str]:
        """Return the images that a path may mean: of the same path, else those of which one path ends in the other.

        So ``seg/case_1/imaging.nii`` and ``imaging.nii`` may mean ``case_1/imaging.nii.gz``; ``case_2/imaging.nii`` may
        not. More than one means that the name does not tell.
        """
        alike = self._by_stem.get(stem(other), [])
        wanted = parts(other)
        same = [path for path in alike if parts(path) == wanted]
        return same or [path for path in alike if _ends(parts(path), wanted) or _ends(wanted, parts(path))]


def patients_of(paths: Iterable[str]) -> dict[str, str]:
    """Return the patient of each file, by path.

    1. ``sub-<label>`` where a folder or the file's name starts so (BIDS): sessions of one patient stay together.
    2. The folder with whose name the next folder's or the file's name goes on (``Pat1/Pat1_t1.nii.gz``).
    3. Of the others, where file names repeat in folders: the first folder, if there are as many folders as file names
       (``pat1/baseline.nii.gz``); otherwise the file's stem (``T1/pat1.nii.gz``).
    4. The file's stem, without a channel (``case_1_0000``, nnU-Net) if several stems have all the same channels.

    A name cannot tell more: ``pat1_v1`` and ``pat1_v2`` are two patients, unless a folder has both.
    """
    every = list(paths)
    named = {path: found for path in every if (found := _bids(path) or _continued(path))}
    others = [path for path in every if path not in named]
    nested = [path for path in others if "/" in path]
    stems, folders = {stem(path) for path in nested}, {path.split("/")[0] for path in nested}
    by_folder = len(stems) < len(nested) and len(folders) >= len(stems)
    channels = _share_channels({stem(path) for path in others})
    for path in others:
        name = _CHANNEL.sub("", stem(path)) if channels else stem(path)
        named[path] = path.split("/")[0] if by_folder and "/" in path else name
    return named


def _ends(longer: tuple[str, ...], shorter: tuple[str, ...]) -> bool:
    return longer[len(longer) - len(shorter) :] == shorter


def _continued(path: str) -> str:
    names = parts(path)
    for name, following in pairwise(names):
        if following.startswith(name) and following != name and not following[len(name)].isalnum():
            return name
    return ""


def _share_channels(stems: Iterable[str]) -> bool:
    channels: dict[str, set[str]] = defaultdict(set)
    for name in stems:
        found = _CHANNEL.search(name)
        channels[_CHANNEL.sub("", name)].add(found.group() if found else "")
    return len(channels) > 1 and all(each == {f"_{n:04d}" for n in range(len(each))} for each in channels.values())


def _bids(path: str) -> str:
    for part in reversed(parts(path)):
        if found := re.match(r"sub-[A-Za-z0-9]+(?=_|$)", part):
            return found.group()
    return ""
