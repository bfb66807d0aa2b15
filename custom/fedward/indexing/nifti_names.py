"""Compare the names of NIfTI files of one cohort: which image a mask belongs to, and whose patient a file is of.

Names are paths below a folder, without ``.nii`` or ``.nii.gz``. File names alone may repeat in every patient's folder
(``case_1/imaging.nii.gz``), so folders count wherever both sides have them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from fedward.dicom.nifti import stem


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
    2. Where no file name repeats in another folder: the file's stem.
    3. Otherwise the first folder: file names then tell images of one patient apart, and not patients. Files of several
       patients below one first folder count as one patient, so that no patient is ever on both sides of the split.
    """
    every = list(paths)
    named = {path: found for path in every if (found := _bids(path))}
    others = [path for path in every if path not in named]
    repeated = len({stem(path) for path in others}) < len(others)
    by_folder = {path: path.split("/")[0] if repeated and "/" in path else stem(path) for path in others}
    return named | by_folder


def _ends(longer: tuple[str, ...], shorter: tuple[str, ...]) -> bool:
    return longer[len(longer) - len(shorter) :] == shorter


def _bids(path: str) -> str:
    for part in reversed(parts(path)):
        if found := re.match(r"sub-[A-Za-z0-9]+(?=_|$)", part):
            return found.group()
    return ""
