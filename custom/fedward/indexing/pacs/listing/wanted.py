"""Choose the series of a cohort's modalities."""

from __future__ import annotations

from fedward.indexing.pacs.archive import Series
from fedward.settings import CohortPolicy

_WITHOUT_PICTURES = frozenset(
    {"SR", "PR", "KO", "DOC", "AU", "ECG", "EPS", "HD", "RTPLAN", "RTSTRUCT", "RTRECORD", "REG", "FID", "RWV", "PLAN"}
    | {"SEG", "ANN", "STAIN", "RESP", "TG", "SMR"}
)
_MASKS = "SEG"


def wanted(series: Series, cohort: CohortPolicy) -> bool:
    """True for a series of the cohort's modalities, and for one without a modality: the index reads it."""
    modalities = {one.upper() for one in cohort.modalities}
    masks = {_MASKS} if cohort.masks == cohort.images else set()
    if not series.modality:
        return True
    return series.modality in modalities | masks if modalities else series.modality not in _WITHOUT_PICTURES - masks
