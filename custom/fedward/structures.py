"""Compare names of structures: a job's, segment labels of DICOM SEG, and values of NIfTI label maps."""

from __future__ import annotations


def structure_key(name: str) -> str:
    """Return the form in which two names of one structure are equal.

    Case, outer blanks and repeated blanks do not matter; a number is compared by its value ("01" is "1").
    """
    key = " ".join(name.split()).casefold()
    return str(int(key)) if key.isdecimal() else key
