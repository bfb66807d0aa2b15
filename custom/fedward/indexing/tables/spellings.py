"""Find the identifiers of a cohort that a spelling in a table may stand for, by pseudonyms alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from fedward.dicom.nifti import stem
from fedward.indexing.quality import FileFacts
from fedward.indexing.site_key import Kind, SiteKey
from fedward.indexing.tables.identifiers import normal_form, paddings
from fedward.indexing.tables.paths import endings, file_names, whole_form, whole_name

Spellings = Mapping[str, frozenset[str]]
"""Pseudonym of an identifier, exact or in normal form -> exact pseudonyms of the identifiers with that normal form."""
_MOST_FILES, _MORE = 16, ""
"""Files of one name that are told apart, and the name that stands for all further ones; no file and no line has it."""


def cohort_spellings(images: Iterable[FileFacts], key: SiteKey) -> Spellings:
    """Map the normal forms of the images' patients, and of the paths of NIfTI files, to their pseudonyms.

    Args:
        images: findings with pseudonyms; those in quarantine too, since a line of the table may mean one of them.
        key: the site's key.
    """
    known: dict[str, set[str]] = defaultdict(set)
    for one in images:
        for spelling in {one.patient_alike, one.patient} - {""}:
            known[spelling].add(one.patient)
        if one.study:
            known[one.study].add(one.study)
        if one.format == "nifti":
            study = key.pseudonym("study", stem(one.path))
            known[key.alike("study", stem(one.path))].add(study)
            whole = whole_name(one.path, key)
            forms = {key.alike("image", whole_form(ending)) for ending in endings(one.path)}
            for spelling in {*file_names(one.path, key), *forms, key.alike("image", f"/{whole_form(one.path)}")} - {""}:
                known[spelling].add(whole if len(known[spelling]) < _MOST_FILES else _MORE)
    return {spelling: frozenset(names) for spelling, names in known.items()}


def spellings_of(kind: Kind, identifier: str, key: SiteKey) -> frozenset[str]:
    """Return the pseudonyms under which the cohort may know an identifier of the table, but for its exact one.

    The normal form, by ``SiteKey.alike``; and, for images from an archive, whose files hold only pseudonyms: exact
    pseudonyms of the normal form, in lower and upper case, and of a number with leading zeros.
    """
    form = whole_form(identifier) if kind == "image" else normal_form(identifier)
    others = {form, form.upper(), *paddings(form)} - {"", identifier}
    return frozenset({key.pseudonym(kind, one) for one in others} | {key.alike(kind, form)}) - {""}


def whole_spellings(path: str, key: SiteKey) -> tuple[str, ...]:
    """Return the normal forms of the endings of a path of the table, as whole paths of files, longest first."""
    return tuple(key.alike("image", f"/{whole_form(ending)}") for ending in endings(path))
