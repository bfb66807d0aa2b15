"""Fetch the instances of the cohort's archive into the image folder as de-identified files.

Runs for ``fedward site index --pacs``:

1. Find the studies that the policy names, and their series of the cohort's modalities.
2. For each series, request the instances that are not here yet; de-identify each before writing it.
3. Request missing instances up to three times; then list them with the reason, and continue with the next series.
4. Stop with an error if the archive stops answering: the next run continues from there.
5. Refuse the cohort if more was lost than the site tolerates.
"""

from __future__ import annotations

import csv
import io
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

from fedward.errors import CohortError, SettingsError, StudyError
from fedward.files import write_atomic
from fedward.indexing.pacs.archive import Archive, Series, SilentArchiveError, Study, find_keys, place_of, shown
from fedward.indexing.pacs.reasons import REASONS
from fedward.indexing.pacs.series_transfer import Errand
from fedward.indexing.pacs.store import Store
from fedward.indexing.site_key import SiteKey, load_key
from fedward.settings import CohortPolicy, Pacs, SitePolicy

REFUSED = "archive-refused.csv"
PAUSES_S = (1.0, 3.0)
"""Seconds before the second and the third query to an archive that did not answer."""
_REQUESTS = 3
_WITHOUT_PICTURES = frozenset(
    {"SR", "PR", "KO", "DOC", "AU", "ECG", "EPS", "HD", "RTPLAN", "RTSTRUCT", "RTRECORD", "REG", "FID", "RWV", "PLAN"}
    | {"SEG", "ANN", "STAIN", "RESP", "TG", "SMR"}
)
_MASKS = "SEG"
_Answer = TypeVar("_Answer")
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """Counts of one run.

    Attributes:
        studies, series: studies found, and their series of the cohort's modalities.
        found: instances of those series.
        fetched: instances written by this run.
        already: instances written before this run.
        refused: reason of ``REASONS`` -> number of instances, or of studies and series whose instances are unknown.
        no_longer_found: instances in the folder whose series the archive no longer finds by these keys.
    """

    studies: int
    series: int
    found: int
    fetched: int
    already: int
    refused: dict[str, int]
    no_longer_found: int


def fetch_cohort(policy: SitePolicy, cohort: str, *, progress: Progress | None = None) -> Fetched:
    """Fetch the instances of the cohort's archive that are not here yet; list the others in ``archive-refused.csv``.

    Args:
        policy: the hospital's ``site.toml``, with absolute paths.
        cohort: name of the cohort in ``site.toml``.
        progress: called with series done and series to do.

    Returns:
        Counts: ``found == fetched + already +`` refused instances.

    Raises:
        SettingsError: no such cohort, one without an archive, or keys that cannot find studies.
        CohortError: nothing matches, the archive stopped answering, more was refused than the site tolerates, or the
            folder is unusable.
    """
    chosen = policy.cohorts.get(cohort)
    if chosen is None or chosen.pacs is None:
        what = "no such cohort" if chosen is None else "cohort names no archive"
        raise SettingsError(what, where=policy.site, value=cohort, remedy="add [cohorts.<name>.pacs] to site.toml")
    key = load_key(policy.key)
    with closing(Store(chosen.images, key)) as store, closing(open_archive(chosen.pacs)) as archive:
        return _Run(chosen, chosen.pacs, archive, store, key).fetch(progress)


def open_archive(pacs: Pacs) -> Archive:
    """Return the archive for the protocol that the policy names."""
    from fedward.indexing.pacs.get_move import GetArchive, MoveArchive
    from fedward.indexing.pacs.web import WebArchive

    ways: dict[str, Callable[[Pacs], Archive]] = {"c-get": GetArchive, "c-move": MoveArchive, "dicomweb": WebArchive}
    return ways[pacs.protocol](pacs)


class _Run:
    def __init__(self, cohort: CohortPolicy, pacs: Pacs, archive: Archive, store: Store, key: SiteKey) -> None:
        self._cohort, self._pacs, self._archive, self._store, self._key = cohort, pacs, archive, store, key
        self._aside: list[tuple[str, str, str, str, str]] = []
        self._found = self._fetched = self._already = self._lost = 0

    def fetch(self, progress: Progress | None) -> Fetched:
        studies = self._studies()
        series = [one for study in studies for one in self._series_of(study)]
        if not series:
            value = ", ".join(self._cohort.modalities) or "any image modality"
            remedy = "correct modalities or find in site.toml"
            where = place_of(self._pacs)
            raise CohortError(
                f"{len(studies)} studies, and no series of the cohort's", where=where, value=value, remedy=remedy
            )
        try:
            for done, one in enumerate(series):
                if progress is not None:
                    progress(done, len(series))
                self._fetch(one)
        finally:
            self._write_list()
        if progress is not None:
            progress(len(series), len(series))
        self._tolerate()
        return Fetched(
            studies=len(studies),
            series=len(series),
            found=self._found,
            fetched=self._fetched,
            already=self._already,
            refused=dict(Counter(reason for _, _, _, reason, _ in self._aside).most_common()),
            no_longer_found=self._store.others({self._store.pseudonyms(one) for one in series}),
        )

    def _studies(self) -> list[Study]:
        keys = find_keys(self._pacs)
        studies = list({one.uid: one for one in self._patiently(self._archive.studies) if one.uid}.values())
        if not studies:
            remedy = "ask the archive's keepers for the keys that it knows, and correct find in site.toml"
            raise CohortError(f"archive has no study with {shown(keys)}", where=place_of(self._pacs), remedy=remedy)
        for keyword, value in keys.items():
            if value and not any(keyword in one.answered for one in studies):
                remedy = "take it out of find in site.toml: studies that nobody asked for would be fetched"
                raise CohortError(
                    "archive does not search by this key", where=place_of(self._pacs), value=keyword, remedy=remedy
                )
        return studies

    def _series_of(self, study: Study) -> Iterator[Series]:
        """Yield the series of the cohort's modalities. A series without modality is fetched too: the index reads it."""
        name = self._key.pseudonym("study", study.uid)
        try:
            there = {one.uid: one for one in self._patiently(lambda: self._archive.series(study.uid)) if one.uid}
        except StudyError as refusal:
            self._lose(name, "", refusal, instances=1)
            return
        wanted = {one.upper() for one in self._cohort.modalities}
        masks = {_MASKS} if self._cohort.masks == self._cohort.images else set()
        found = False
        for one in there.values():
            taken = one.modality in wanted | masks if wanted else one.modality not in _WITHOUT_PICTURES - masks
            if taken or not one.modality:
                found = True
                yield one
        if not found:
            detail = f"{len(there)} series" if there else "no series"
            self._list(name, "", "", StudyError("empty-study", detail))

    def _fetch(self, series: Series) -> None:
        if self._store.whole(series) and series.instances is not None:
            self._found += series.instances
            self._already += series.instances
            return
        try:
            listed = {one.uid: one for one in self._patiently(lambda: self._archive.instances(series)) if one.uid}
        except StudyError as refusal:
            self._lose(*self._store.pseudonyms(series), refusal, instances=series.instances or 1)
            return
        if not listed:
            self._list(*self._store.pseudonyms(series), "", StudyError("empty-series"))
            return
        errand = Errand(series, list(listed.values()), store=self._store, key=self._key)
        before = len(listed) - len(errand.missing())
        self._found += len(listed)
        self._already += before
        try:
            self._run(errand, series, fresh=before == 0)
        finally:
            self._fetched += errand.stored
            self._lost += len(errand.refused)
            for instance, why in errand.refused.items():
                self._list(*self._store.pseudonyms(series), self._key.pseudonym("image", instance), why)
            for _ in range(errand.uninvited):
                self._list(*self._store.pseudonyms(series), "", StudyError("not-asked"))
        if not errand.refused:
            self._store.mark_whole(series, len(listed))

    def _run(self, errand: Errand, series: Series, *, fresh: bool) -> None:
        """Request the whole series if none of it is here; after that, request the missing instances by UID."""
        why = StudyError("not-sent")
        for request in range(_REQUESTS):
            if not errand.missing():
                return
            alone = request > 0 or not fresh
            try:
                self._patiently(
                    lambda: self._archive.retrieve(series, errand.missing(), errand.receive, alone=alone)  # noqa: B023
                )
            except StudyError as refused:
                why = refused
            if errand.fault is not None:
                raise self._stopped(errand.fault)
        errand.give_up(why)

    def _patiently(self, ask: Callable[[], _Answer]) -> _Answer:
        for pause_s in PAUSES_S:
            try:
                return ask()
            except SilentArchiveError:
                time.sleep(pause_s)
        return ask()

    def _stopped(self, fault: BaseException) -> BaseException:
        if isinstance(fault, OSError):
            remedy = "make room, or correct images in site.toml"
            return CohortError("cannot write", where=self._cohort.images, value=fault.strerror, remedy=remedy)
        return fault

    def _tolerate(self) -> None:
        tolerated = self._cohort.max_quarantined_fraction
        if self._lost <= tolerated * self._found:
            return
        raise CohortError(
            f"{self._lost} of {self._found} instances could not be fetched, more than the site tolerates "
            f"(max_quarantined_fraction = {tolerated:g})",
            where=place_of(self._pacs),
            remedy=f"see {REFUSED} in the index folder",
        )

    def _lose(self, study: str, series: str, refusal: StudyError, *, instances: int) -> None:
        """List a study or series whose instances the archive did not name, and count them as lost."""
        self._found += instances
        self._lost += instances
        self._list(study, series, "", refusal)

    def _list(self, study: str, series: str, instance: str, refusal: StudyError) -> None:
        self._aside.append((study, series, instance, refusal.reason, refusal.detail))

    def _write_list(self) -> None:
        out = io.StringIO()
        table = csv.writer(out, lineterminator="\n")
        table.writerow(["study", "series", "instance", "reason", "which means that it", "detail"])
        for *names, reason, detail in sorted(self._aside):
            table.writerow([*names, reason, REASONS[reason], detail])
        self._cohort.index.mkdir(parents=True, exist_ok=True)
        write_atomic(self._cohort.index / REFUSED, out.getvalue())
