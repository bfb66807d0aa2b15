"""Hold the list of studies against the query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fedward.errors import CohortError
from fedward.indexing.pacs.archive import Study, place_of
from fedward.settings import CohortPolicy, Pacs


def hold_to_keys(pacs: Pacs, keys: Mapping[str, str], studies: Sequence[Study]) -> None:
    """Raise ``CohortError`` if the archive did not search by a key: no answer has it, or one contradicts it."""
    remedy = "take it out of query in site.toml: studies that nobody asked for would be fetched"
    for keyword in (keyword for keyword, value in keys.items() if value):
        if not any(keyword in one.answered - one.empty for one in studies):
            what = "archive does not search by this key"
            raise CohortError(what, where=place_of(pacs), value=keyword, remedy=remedy)
        if others := sum(keyword in one.unlike for one in studies):
            what = f"archive answers with {others} of {len(studies)} studies that do not match this key"
            raise CohortError(what, where=place_of(pacs), value=keyword, remedy=remedy)


def no_series(pacs: Pacs, cohort: CohortPolicy, studies: int) -> CohortError:
    """Return the error for studies none of whose series are of the cohort's modalities."""
    value = ", ".join(cohort.modalities) or "any image modality"
    remedy = "correct modalities or query in site.toml"
    return CohortError(
        f"{studies} studies, and no series of the cohort's", where=place_of(pacs), value=value, remedy=remedy
    )
