"""Fetch the instances of the cohort's archive into the image folder as de-identified files.

Runs for ``fedward site index --pacs``:

1. Find the studies that the policy names, and their series of the cohort's modalities. Stop if the list of studies is
   cut short: nothing states how many there are.
2. For each series, request the instances that are not here yet; de-identify each before writing it. Request the entire
   series if its list has fewer than the archive states.
3. Request missing instances up to three times; then list them with the reason, and continue with the next series.
4. Hold each study and series against the numbers that the archive states; list what is missing, and count it as lost.
5. Stop with an error if the archive stops answering: the next run continues from there. If it falls silent over one
   series alone, count that series as lost, and continue.
6. Refuse the cohort if more was lost than the site tolerates.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TypeVar

from fedward.errors import CohortError, SettingsError, StudyError
from fedward.indexing.pacs import echo
from fedward.indexing.pacs.archive import (
    Archive,
    Instance,
    Series,
    SilentArchiveError,
    Study,
    find_keys,
    place_of,
    shown,
    studies_cut_short,
)
from fedward.indexing.pacs.listing.held import ListedStudy, Listing, listing
from fedward.indexing.pacs.listing.refused import REFUSED, RefusedList
from fedward.indexing.pacs.listing.studies import hold_to_keys, no_series
from fedward.indexing.pacs.listing.wanted import wanted
from fedward.indexing.pacs.series_transfer import Errand, transfer
from fedward.indexing.pacs.store import Store
from fedward.indexing.site_key import SiteKey, load_key
from fedward.settings import CohortPolicy, Pacs, SitePolicy

__all__ = ["BESIDE", "REFUSED", "Fetched", "fetch_cohort", "open_archive"]
PAUSES_S = (1.0, 3.0)
"""Seconds before the second and the third query to an archive that did not answer."""
BESIDE = frozenset({"empty-study", "empty-series", "not-asked"})
"""Reasons without a loss: nothing to fetch, or nothing that was requested."""
_SILENT_SERIES = 20
_Answer = TypeVar("_Answer")
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """Counts of one run.

    Attributes:
        studies, series: studies found, and their series of the cohort's modalities.
        found: instances of those series, and those that the archive states and does not list.
        fetched: instances written by this run.
        already: instances written before this run.
        refused: reason of ``REASONS`` -> number of instances; a study or series whose number is unknown counts as one.
            The reasons ``BESIDE`` count studies, series and instances that are not in ``found``.
        no_longer_found: instances in the folder that the archive no longer finds by these keys.
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
        Counts: ``found == fetched + already +`` refused, without the reasons ``BESIDE``.

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
        self._refused = RefusedList()
        self._found = self._fetched = self._already = 0
        self._no_longer_named, self._silent = 0, (0, 0)

    def fetch(self, progress: Progress | None) -> Fetched:
        report = progress or (lambda done, total: None)
        studies = self._studies()
        try:
            listed = [one for study in studies if (one := self._series_of(study)) is not None]
            total, done = sum(len(one.taken) for one in listed), 0
            if not total:
                raise no_series(self._pacs, self._cohort, len(studies))
            for study in listed:
                for series in study.taken:
                    report(done, total)
                    study.instances[series.uid] = self._fetch(series)
                    done += 1
                self._hold(study)
        finally:
            self._refused.write(self._cohort.index)
        report(total, total)
        gone = self._store.others({self._store.pseudonyms(one) for each in listed for one in each.taken})
        gone += self._no_longer_named
        here = self._fetched + self._already + gone
        self._refused.tolerate(self._cohort, place_of(self._pacs), found=self._found, here=here)
        return Fetched(
            studies=len(studies),
            series=total,
            found=self._found,
            fetched=self._fetched,
            already=self._already,
            refused=self._refused.counts(),
            no_longer_found=gone,
        )

    def _studies(self) -> list[Study]:
        keys = find_keys(self._pacs)
        found = listing(lambda: self._patiently(self._archive.studies))
        if found.cut is not None:
            raise studies_cut_short(self._pacs, len(found))
        if not len(found):
            remedy = "ask the archive's keepers for the keys that it knows, and correct query in site.toml"
            raise CohortError(f"archive has no study with {shown(keys)}", where=place_of(self._pacs), remedy=remedy)
        hold_to_keys(self._pacs, keys, [*found.named, *found.nameless])
        for one in found.nameless:
            self._lose("", "", StudyError("no-uid", "a study"), instances=one.instances)
        return found.named

    def _series_of(self, study: Study) -> ListedStudy | None:
        """Return the study's series; None if the archive refuses."""
        name = self._key.pseudonym("study", study.uid)
        try:
            found = listing(lambda: self._patiently(lambda: self._archive.series(study.uid)))
        except StudyError as refusal:
            self._lose(name, "", refusal, instances=study.instances)
            return None
        listed = ListedStudy(study, found, [one for one in found.named if wanted(one, self._cohort)])
        listed.instances.update((one.uid, one.instances) for one in found.named)
        for number, one in enumerate(found.nameless):
            listed.instances[f"#{number}"] = one.instances
            if wanted(one, self._cohort):
                lost = self._lose(name, "", StudyError("no-uid", "a series"), instances=one.instances)
                listed.instances[f"#{number}"] = lost
        return listed

    def _hold(self, one: ListedStudy) -> None:
        """Count what the study lacks by its own numbers; list it as empty if nothing is lacking and nothing wanted."""
        name = self._key.pseudonym("study", one.study.uid)
        lost = one.lacking()
        if lost:
            self._lose(name, "", one.loss(), instances=lost)
        elif not one.taken and not any(wanted(each, self._cohort) for each in one.series.nameless):
            self._refused.add(name, "", "", StudyError("empty-study", f"{len(one.series)} series"), lost=0)

    def _fetch(self, series: Series) -> int:
        """Fetch a series; return the number of its instances: found, or stated if that is more.

        The list is asked for each time: an image that was rejected and taken again leaves the number as it was.
        """
        name = self._store.pseudonyms(series)
        whole = series.instances if self._store.whole(series) else None
        try:
            listed = listing(lambda: self._patiently(lambda: self._archive.instances(series)))
        except StudyError as refusal:
            if whole is not None:
                return self._all_here(whole)
            return self._lose(*name, refusal, instances=series.instances)
        short = len(listed.nameless) + listed.lacking(series.instances)
        if not short:
            self._no_longer_named += self._store.beside(series, {one.uid for one in listed.named})
        if whole is not None and all(self._store.has(series, one.uid) for one in listed.named):
            return self._all_here(whole)
        if not listed.named and not short:
            self._refused.add(*name, "", StudyError("empty-series"), lost=0)
            return 0
        room = None if series.instances is None else short
        errand = Errand(series, listed.named, store=self._store, key=self._key, room=room)
        before = len(listed.named) - len(errand.missing())
        unsent = 0
        try:
            unsent = transfer(
                errand,
                self._archive,
                series,
                listed,
                short=short,
                patiently=self._patiently,
                answers=lambda: self._answers(series.study),
            )
            if errand.fault is not None:
                raise self._stopped(errand.fault)
        finally:
            for instance, why in errand.refused.items():
                self._refused.add(*name, self._key.pseudonym("image", instance), why, lost=1)
            for _ in range(errand.uninvited):
                self._refused.add(*name, "", StudyError("not-asked"), lost=0)
        here = before + errand.unlisted_here + errand.stored
        self._already += before + errand.unlisted_here
        self._fetched += errand.stored
        self._found += here + len(errand.refused)
        left = max(0, short - len(errand.unlisted))
        self._lack(name, listed, left)
        if here != series.instances and unsent > left:
            left += self._lose(*name, StudyError("sent-in-part"), instances=unsent - left)
        if here == series.instances and not errand.refused and not left:
            self._store.mark_whole(series, here)
        return here + len(errand.refused) + left

    def _all_here(self, instances: int) -> int:
        self._found += instances
        self._already += instances
        return instances

    def _lack(self, name: tuple[str, str], listed: Listing[Instance], left: int) -> None:
        """Count instances of a series that neither its list named nor a request for all of it brought."""
        nameless = min(left, len(listed.nameless))
        if nameless:
            self._lose(*name, StudyError("no-uid", "instances"), instances=nameless)
        if left > nameless:
            self._lose(*name, listed.loss(f"{len(listed)} instances listed"), instances=left - nameless)

    def _patiently(self, ask: Callable[[], _Answer]) -> _Answer:
        for pause_s in PAUSES_S:
            try:
                return ask()
            except SilentArchiveError:
                time.sleep(pause_s)
        return ask()

    def _answers(self, study: str) -> bool:
        """True if the archive still answers; False after ``_SILENT_SERIES`` in succession without a file."""
        fetched, times = self._silent
        self._silent = (self._fetched, times + 1 if fetched == self._fetched else 1)
        if times >= _SILENT_SERIES and fetched == self._fetched:
            return False
        try:
            echo(self._pacs)
            return True
        except SilentArchiveError:
            return False
        except CohortError:  # such as an archive that does not offer C-ECHO
            with suppress(CohortError):
                return bool(self._patiently(lambda: self._archive.series(study)))
            return False

    def _stopped(self, fault: BaseException) -> BaseException:
        if isinstance(fault, OSError):
            remedy = "make room, or correct images in site.toml"
            return CohortError("cannot write", where=self._cohort.images, value=fault.strerror, remedy=remedy)
        return fault

    def _lose(self, study: str, series: str, refusal: StudyError, *, instances: int | None) -> int:
        """List and count as lost what the archive did not name; an unknown number of instances counts as one."""
        lost = instances or 1
        self._found += lost
        self._refused.add(study, series, "", refusal, lost=lost)
        return lost
