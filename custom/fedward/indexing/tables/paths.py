"""Name NIfTI files by their paths, so that a table may write a path with more or fewer folders than the cohort has.

A path of the table and a path of the cohort name one file if one of them is the end of the other, by whole parts:

>>> endings("/data/case_1/imaging.nii.gz")
('data/case_1/imaging', 'case_1/imaging', 'imaging')

Since the cohort has pseudonyms alone, each file has one of every ending of its path, and one more of its whole path.
"""

from __future__ import annotations

from fedward.indexing.grouping.nifti_names import parts
from fedward.indexing.site_key import SiteKey
from fedward.indexing.tables.identifiers import normal_form


def endings(path: str) -> tuple[str, ...]:
    """Return the endings of a path by whole parts, longest first, without ``.nii`` and ``.nii.gz``; "\\\\" is "/"."""
    given = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]
    named = parts("/".join(given)) if given else ()
    return tuple("/".join(named[start:]) for start in range(len(named)))


def whole_name(path: str, key: SiteKey) -> str:
    """Return the pseudonym of a whole path; no ending of another path has it."""
    return key.pseudonym("image", f"/{next(iter(endings(path)), '')}")


def file_names(path: str, key: SiteKey) -> frozenset[str]:
    """Return the pseudonyms by which a table may name a file of the cohort."""
    return frozenset({key.pseudonym("image", ending) for ending in endings(path)} | {whole_name(path, key)})


def whole_form(path: str) -> str:
    """Return a path without its suffix, each part in normal form."""
    return "/".join(map(normal_form, next(iter(endings(path)), "").split("/")))
