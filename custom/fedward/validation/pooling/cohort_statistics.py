"""Count patients by age, sex and label, and images by grey value, in each hospital and in the sum over hospitals.

Each hospital counts the patients and images of a job, training and validation together. A patient counts once by age,
at the lowest age in the patient's images; once by sex, under "unknown" if the images do not agree; and once for each
label that an image of the patient has. Grey values are those of the network's input images, standardised and without
augmentation; each image has the same weight.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward.dataset.manifest import Row
from fedward.dataset.selection import Example
from fedward.errors import EncryptionError
from fedward.privacy.disclosure.categories import AGES, INTENSITIES, SEXES
from fedward.privacy.disclosure.suppression import suppress_cells, suppress_labels, suppress_parts
from fedward.settings import JobSpec

SHARES = 1000
"""Number of shares into which each image's grey values are divided, so that sums are integers."""
STRATA = {"age": AGES, "sex": SEXES}
"""Characteristic by which patients are counted -> its categories."""
_FORMAT = "fedward cohort statistics 2"
_UNKNOWN = "unknown"


def statistics_length(job: JobSpec) -> int:
    """Return the length of ``cohort_statistics``."""
    return len(_entries(job))


def statistics_layout(job: JobSpec) -> str:
    """Return the SHA-256, 64 hexadecimal digits, of the numbers' meaning: counts of equal layouts may be added."""
    content = {"format": _FORMAT, "shares": SHARES, "size": job.data.size, "entries": _entries(job)}
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def cohort_statistics(
    job: JobSpec, examples: Sequence[Example], images: Iterable[NDArray[np.float32]]
) -> NDArray[np.int64]:
    """Count a site's patients and images.

    Args:
        job: the job with the labels or classes.
        examples: all images of the job, of both splits.
        images: for each of ``examples``, in their order, its standardised grey values; any shape.

    Returns:
        int64 (statistics_length(job),): patients; images; patients by age, by sex; patients by label or class, none for
        a segmentation; SHARES of each image by grey value. In a sum over sites a patient of two sites counts twice.

    Raises:
        ValueError: the numbers of images and examples differ.
    """
    counts = Counter[tuple[str, str]]()
    people: defaultdict[str, list[Row]] = defaultdict(list)
    having = set[tuple[str, str]]()
    for example in examples:
        people[example.row.patient].append(example.row)
        having.update((example.row.patient, name) for name in _positive(job, example))
    counts.update(("positives", name) for _, name in having)
    counts["patients", ""], counts["images", ""] = len(people), len(examples)
    for rows in people.values():
        counts["age", _age(rows)] += 1
        counts["sex", _sex(rows)] += 1
    shares = np.zeros(len(INTENSITIES), dtype=np.int64)
    for _, image in zip(examples, images, strict=True):
        shares += intensity_shares(image)
    counts.update({("intensity", name): int(share) for name, share in zip(INTENSITIES, shares, strict=True)})
    return np.array([counts[entry] for entry in _entries(job)], dtype=np.int64)


def intensity_shares(image: NDArray[np.float32]) -> NDArray[np.int64]:
    """Divide SHARES among the bins in proportion to an image's grey values.

    Args:
        image: finite, any shape, not empty. Values outside the bins count in the first or the last bin.

    Returns:
        int64 (bins,), with the sum SHARES: each bin's part is rounded down, and the rest goes to the largest
        remainders, to the lower bin first if they are equal.
    """
    inner = np.array([float(name) for name in INTENSITIES[1:]])
    found = np.bincount(np.searchsorted(inner, np.ravel(image), side="right"), minlength=len(INTENSITIES))
    whole, remainder = np.divmod(found * SHARES, found.sum())
    largest = np.argsort(-remainder, kind="stable")[: SHARES - int(whole.sum())]
    whole[largest] += 1
    shares: NDArray[np.int64] = whole.astype(np.int64)
    return shares


def tables_of(job: JobSpec, counts: NDArray[np.int64]) -> dict[str, dict[str, int]]:
    """Return the counts of ``cohort_statistics``, or the sum of several, by name: table -> entry -> count.

    Returns:
        "patients" and "images", each with the one entry ""; "age"; "sex"; "positives", empty for a segmentation;
        "intensity".

    Raises:
        EncryptionError: the numbers cannot come from a cohort: their length is wrong, one is below 0, or parts do not
            add up to the whole.
    """
    entries = _entries(job)
    if counts.shape != (len(entries),) or counts.dtype != np.int64 or counts.min() < 0:
        raise _not_of(job)
    tables: dict[str, dict[str, int]] = {"positives": {}}
    for (table, name), count in zip(entries, counts.tolist(), strict=True):
        tables.setdefault(table, {})[name] = count
    patients, images = tables["patients"][""], tables["images"][""]
    wholes = {"age": patients, "sex": patients, "intensity": SHARES * images}
    most = max(tables["positives"].values(), default=0)
    if not most <= patients <= images or any(sum(tables[table].values()) != whole for table, whole in wholes.items()):
        raise _not_of(job)
    return tables


def pooled_statistics(
    job: JobSpec,
    counts: NDArray[np.int64],
    *,
    min_count: int,
    hides: Collection[str] = (),
    hides_patients: bool = False,
    rest: Mapping[str, Mapping[str, int]] | None = None,
) -> dict[str, Any]:
    """Return the statistics of all patients whose numbers were added.

    Args:
        job: the job of the counts.
        counts: ``cohort_statistics``, or the sum of several.
        min_count: minimum count; a count below it is None, as are counts that would disclose it (``suppress_parts``).
        hides: labels whose patients could disclose one hospital's (``fedward.privacy.disclosure.withheld``).
        hides_patients: True if the number of all patients could.
        rest: for "age" and "sex", each part's patients minus those that hospitals disclosed themselves; None: all.

    Returns:
        JSON-ready ``patients``, ``images``; ``age``, ``sex``: tables of patients; ``positives``: patients by label or
        class, absent for a segmentation; ``intensity``: lower edge of a bin -> share of grey values, 0 to 1. With
        fewer patients than the minimum count, or with ``hides_patients``, all are None.

    Raises:
        EncryptionError: as in ``tables_of``.
    """
    tables = tables_of(job, counts)
    patients, images = tables["patients"][""], tables["images"][""]
    enough = patients >= min_count and not hides_patients
    total = patients if enough else None
    found: dict[str, Any] = {"patients": total, "images": images if enough else None}
    for name in STRATA:
        cells = _cells(tables[name], tables[name] if rest is None else rest[name], least=min_count)
        found[name] = suppress_parts(cells, total=total, least=min_count)
    if tables["positives"]:
        free = {name: None if name in hides else count for name, count in tables["positives"].items()}
        found["positives"] = suppress_labels(free, patients=total, images=found["images"], least=min_count)
    found["intensity"] = {
        name: shares / (SHARES * images) if enough and images else None for name, shares in tables["intensity"].items()
    }
    return found


def _cells(whole: Mapping[str, int], rest: Mapping[str, int], *, least: int) -> dict[str, int | None]:
    """Return a table of all patients; null where it minus the hospitals' disclosed counts would show few patients."""
    parted = {"all": whole, "rest": rest}
    seen = suppress_cells(
        {name: {part: (count,) for part, count in table.items()} for name, table in parted.items()},
        wholes={name: (sum(table.values()),) for name, table in parted.items()},
        least=least,
    )
    return {part: count if part in seen else None for part, count in whole.items()}


def _entries(job: JobSpec) -> list[tuple[str, str]]:
    """List the meaning of each number: table and entry, in order."""
    tables = {"patients": ("",), "images": ("",), "age": AGES, "sex": SEXES, "positives": job.scored_names}
    return [(table, name) for table, entries in {**tables, "intensity": INTENSITIES}.items() for name in entries]


def _positive(job: JobSpec, example: Example) -> list[str]:
    """Return the labels for which an image is yes, or its class."""
    if job.data.target == "multiclass":
        return [job.data.classes[index] for index in example.truth]
    return [name for name, value in zip(job.data.labels, example.truth, strict=True) if value]


def _age(rows: Sequence[Row]) -> str:
    decades = [row.age_decade for row in rows if row.age_decade is not None]
    return AGES[min(min(decades) // 10, len(AGES) - 2)] if decades else _UNKNOWN


def _sex(rows: Sequence[Row]) -> str:
    sexes = {row.sex for row in rows if row.sex}
    (sex,) = sexes if len(sexes) == 1 else {_UNKNOWN}
    return sex if sex in SEXES else _UNKNOWN


def _not_of(job: JobSpec) -> EncryptionError:
    remedy = "let each hospital run the same version on the same job"
    return EncryptionError("not cohort statistics of this job", where=job.job.name, remedy=remedy)
