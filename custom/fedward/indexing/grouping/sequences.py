"""Say which sequence an image is, by the hospital's own rules. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from fedward.dicom.nifti import SUFFIXES
from fedward.errors import StudyError

Rules = Mapping[str, str]
"""Sequence -> pattern; see ``CohortPolicy.sequences``."""


def sequence_of(name: str, rules: Rules) -> str:
    """Return the sequence whose rule a series' description, or a file's name, follows; "" for none.

    Raises:
        StudyError: "two-sequences" where several rules fit.
    """
    fitting = sorted(sequence for sequence, rule in rules.items() if _match(name, rule) is not None)
    if len(fitting) > 1:
        raise StudyError("two-sequences", ", ".join(fitting))
    return fitting[0] if fitting else ""


def without_sequence(path: str, rules: Rules) -> str:
    """Return a NIfTI path without what its rule fixes: images of one patient then have one name.

    ``*_t1`` makes ``p1/scan_t1.nii.gz`` to ``p1/scan.nii.gz``; ``T1/*`` makes ``T1/p1.nii.gz`` to ``p1.nii.gz``. A path
    that follows no rule, or several, stays.
    """
    ending = next((one for one in reversed(SUFFIXES) if path.lower().endswith(one)), "")
    name = path[: len(path) - len(ending)]
    found = [match for rule in rules.values() if (match := _match(name, rule)) is not None]
    if len(found) != 1:
        return path
    rest = "".join(found[0].groups()).strip("/_- .")
    return f"{rest}{path[len(name) :]}" if rest else path


def _match(name: str, rule: str) -> re.Match[str] | None:
    """Match a whole name, case ignored; each * and ? is a group."""
    parts = re.split(r"([*?])", rule)
    pattern = "".join({"*": "(.*)", "?": "(.)"}.get(part) or re.escape(part) for part in parts)
    return re.fullmatch(pattern, name, flags=re.IGNORECASE | re.DOTALL)
