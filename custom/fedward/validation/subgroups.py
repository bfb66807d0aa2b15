"""Score a model on subgroups of a hospital's validation patients: by sex, by age, by the maker of the scanner.

Each subgroup has a name from a fixed table, never text from a header. A patient counts once by sex, under "unknown" if
the images do not agree; once by age, at the lowest age in the images; and once by maker, under "several" if the images
have more than one. So the subgroups of a dimension do not overlap, and their counts of patients add up.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward.dataset.manifest import Row
from fedward.privacy.disclosure.categories import AGE_BANDS, MAKERS, SEXES
from fedward.validation.bootstrap import Interval, mean_interval
from fedward.validation.overlap import patient_dices
from fedward.validation.ranking import auroc, auroc_interval
from fedward.validation.scores import finite
from fedward.validation.scores import people as counted

OTHER, SEVERAL, UNKNOWN = "other", "several", "unknown"

_WORDS: Mapping[str, str] = {
    "agfa": "Agfa",
    "canon": "Canon",
    "carestream": "Carestream",
    "kodak": "Carestream",
    "fuji": "Fujifilm",
    "fujifilm": "Fujifilm",
    "ge": "GE",
    "gems": "GE",
    "general electric": "GE",
    "hologic": "Hologic",
    "lorad": "Hologic",
    "konica": "Konica Minolta",
    "minolta": "Konica Minolta",
    "philips": "Philips",
    "picker": "Philips",
    "samsung": "Samsung",
    "shimadzu": "Shimadzu",
    "siemens": "Siemens",
    "toshiba": "Toshiba",
}
"""Text in Manufacturer (0008,0070) -> maker; Kodak's and Picker's scanners are now Carestream's and Philips's."""

Cells = dict[str, dict[str, dict[str, Any]]]
"""Dimension -> value -> scores."""


def maker_of(manufacturer: str) -> str:
    """Return the maker's name in ``categories.MAKERS``: "other" if it is not there, "unknown" for no text."""
    text = " ".join(re.findall(r"[a-z]+", manufacturer.lower()))
    if not text:
        return UNKNOWN if not manufacturer.strip() else OTHER
    found = (maker for words, maker in _WORDS.items() if f" {words} " in f" {text} ")
    return next(found, OTHER)


def sex_of(rows: Sequence[Row]) -> str:
    """Return a patient's sex as named in ``categories.SEXES``, from all rows of that patient."""
    sexes = {row.sex for row in rows if row.sex}
    (sex,) = sexes if len(sexes) == 1 else {UNKNOWN}
    return sex if sex in SEXES else UNKNOWN


def age_band_of(rows: Sequence[Row]) -> str:
    """Return a patient's age band of ``categories.AGE_BANDS``, from the lowest age in all rows of that patient."""
    decades = [row.age_decade for row in rows if row.age_decade is not None]
    return AGE_BANDS[min(max(min(decades), 0) // 20, len(AGE_BANDS) - 2)] if decades else UNKNOWN


def patient_maker(rows: Sequence[Row]) -> str:
    """Return the maker of a patient's scanner, from all rows of that patient: "several" if there is more than one."""
    makers = {maker_of(row.manufacturer) for row in rows}
    return makers.pop() if len(makers) == 1 else SEVERAL


def dimensions(rows: Sequence[Row]) -> dict[str, tuple[str, ...]]:
    """Return ``sex``, ``age`` and ``maker`` of each image's patient, in the order of the rows."""
    people: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        people[row.patient].append(row)
    found = {}
    for dimension, of in (("sex", sex_of), ("age", age_band_of), ("maker", patient_maker)):
        value = {name: of(theirs) for name, theirs in people.items()}
        found[dimension] = tuple(value[row.patient] for row in rows)
    return found


def label_subgroups(
    labels: Mapping[str, NDArray[np.int64]], scores: Mapping[str, NDArray[np.float64]], rows: Sequence[Row]
) -> dict[str, Cells]:
    """Compute the AUC of each label in each subgroup.

    Args:
        labels: name -> 0 and 1, (n,).
        scores: name -> higher for yes, (n,).
        rows: the n images' lines of the manifest.

    Returns:
        JSON-ready: label -> dimension -> value -> ``auc`` with ``auc_low`` and ``auc_high`` over patients,
        ``patients``, and ``positives`` of them with yes in an image. Values that no patient has are absent.
    """

    def cell(name: str, chosen: NDArray[np.intp], patients: Sequence[str]) -> dict[str, Any]:
        truth, score = labels[name][chosen], scores[name][chosen]
        found = _with("auc", auroc(truth, score), auroc_interval(truth, score, patients))
        return {**found, "patients": len(set(patients)), "positives": counted(patients, truth == 1)}

    return _each(list(labels), rows, cell)


def structure_subgroups(counts: Mapping[str, NDArray[np.int64]], rows: Sequence[Row]) -> dict[str, Cells]:
    """Compute the Dice of each structure in each subgroup.

    Args:
        counts: structure -> pixels in both masks, predicted and true, of each image, (n, 3).
        rows: the n images' lines of the manifest.

    Returns:
        As in ``label_subgroups``, with ``dice``, ``dice_low``, ``dice_high``, and ``patients`` who have the structure.
    """

    def cell(name: str, chosen: NDArray[np.intp], patients: Sequence[str]) -> dict[str, Any]:
        values = patient_dices(counts[name][chosen][:, np.newaxis], patients)[:, 0]
        there = np.isfinite(values)
        mean = finite(float(values[there].mean())) if there.any() else None
        found = _with("dice", mean, mean_interval(values, range(len(values))))
        return {**found, "patients": int(there.sum())}

    return _each(list(counts), rows, cell)


def _each(names: Sequence[str], rows: Sequence[Row], cell: Any) -> dict[str, Cells]:
    found: dict[str, Cells] = {name: {} for name in names}
    owners = [row.patient for row in rows]
    tables = {"sex": SEXES, "age": AGE_BANDS, "maker": MAKERS}
    for dimension, values in dimensions(rows).items():
        places = {value: np.flatnonzero(np.array(values) == value) for value in tables[dimension] if value in values}
        for name in names:
            found[name][dimension] = {
                value: cell(name, chosen, [owners[i] for i in chosen]) for value, chosen in places.items()
            }
    return found


def _with(name: str, value: float | None, interval: Interval | None) -> dict[str, float | None]:
    low, high = interval or (None, None)
    return {name: value, f"{name}_low": low, f"{name}_high": high}
