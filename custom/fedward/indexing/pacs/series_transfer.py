"""Track the transfer of one series: the instances still missing, and the outcome of each instance that was sent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from pydicom import Dataset

from fedward.dicom.header import text
from fedward.errors import StudyError
from fedward.indexing.pacs.archive import Archive, Instance, Series, SilentArchiveError, Verdict
from fedward.indexing.pacs.deidentify import deidentify
from fedward.indexing.pacs.listing.held import Listing
from fedward.indexing.pacs.store import Store
from fedward.indexing.site_key import SiteKey

_REQUESTS, _SILENCES = 3, 3
Patiently = Callable[[Callable[[], int]], int]
"""Asks again, after a pause, an archive that did not answer."""


class Errand:
    """Receiver of one series' instances, from any thread. Only de-identified files reach the disk.

    Args:
        series: the series.
        instances: the archive's list of its instances.
        store, key: where and under which pseudonyms instances are written.
        room: number of instances that the list lacks; None if the archive states no number. So many more are taken in
            answer to a request for the entire series.

    Attributes:
        entire: True while the entire series is requested; otherwise only instances of the list are taken.
        refused: instance -> reason and detail.
        stored: number of instances written.
        unlisted: instances taken that were not in the list.
        unlisted_here: number of those that were here before.
        uninvited: number of instances sent without a request.
        fault: exception that ended the transfer, such as a full disk; None if there was none.
    """

    def __init__(
        self, series: Series, instances: Sequence[Instance], *, store: Store, key: SiteKey, room: int | None = 0
    ) -> None:
        self._series, self._store, self._key, self._room = series, store, key, room
        self._waiting = {one.uid: one for one in instances if not store.has(series, one.uid)}
        self._asked = frozenset(self._waiting)
        self._here = frozenset(one.uid for one in instances) - self._asked
        self._lock = threading.Lock()
        self.entire = False
        self.refused: dict[str, StudyError] = {}
        self.unlisted: set[str] = set()
        self.stored = self.unlisted_here = self.uninvited = 0
        self.fault: BaseException | None = None

    def missing(self) -> list[Instance]:
        """Return the instances that are neither stored nor refused yet."""
        return list(self._waiting.values())

    def receive(self, sent: Dataset) -> Verdict:
        """De-identify and write one instance, if it was requested. Raises nothing: see ``fault``."""
        with self._lock:
            if self.fault is not None:
                return "stopped"
            instance = text(sent, "SOPInstanceUID")
            place = (text(sent, "StudyInstanceUID"), text(sent, "SeriesInstanceUID"))
            if place != (self._series.study, self._series.uid) or not self._takes(instance):
                self.uninvited += 1
                return "not-asked"
            if instance not in self._waiting:
                return "refused" if instance in self.refused else "stored"
            try:
                self._store.write(self._series, instance, deidentify(sent, self._key))
            except StudyError as refusal:
                self._refuse(instance, refusal)
                return "refused"
            except BaseException as fault:  # noqa: BLE001 - the caller that started the transfer raises it again
                self.fault = fault
                return "stopped"
            del self._waiting[instance]
            self.stored += 1
            return "stored"

    def _takes(self, instance: str) -> bool:
        """True for what was requested: an instance of the list, or, of an entire series, one that the list lacks."""
        if instance in self._asked or instance in self.unlisted or (self.entire and instance in self._here):
            return True
        full = self._room is not None and len(self.unlisted) >= self._room
        if not instance or not self.entire or full:
            return False
        self.unlisted.add(instance)
        if self._store.has(self._series, instance):
            self.unlisted_here += 1
        else:
            self._waiting[instance] = Instance(instance, "")
        return True

    def give_up(self, refusal: StudyError) -> None:
        """Refuse every missing instance with this reason."""
        with self._lock:
            for instance in list(self._waiting):
                self._refuse(instance, refusal)

    def _refuse(self, instance: str, refusal: StudyError) -> None:
        del self._waiting[instance]
        self.refused[instance] = refusal


def transfer(
    errand: Errand,
    archive: Archive,
    series: Series,
    listed: Listing[Instance],
    *,
    short: int,
    patiently: Patiently,
    answers: Callable[[], bool],
) -> int:
    """Request the entire series if none of it is here or its list is short; after that, the missing ones by UID.

    The entire series is requested again while that brings instances that the list lacks, or comes in part.

    Args:
        errand: receiver of the instances.
        archive, series, listed: the series, and the archive's list of its instances.
        short: number of instances that the list lacks.
        patiently: sends a request.
        answers: True if an archive that fell silent over this series answers another question.

    Returns:
        Number of instances, in addition to those that ``errand`` misses, that the archive did not send by its own
        word.

    Raises:
        SilentArchiveError: the archive answers nothing any more.
    """
    why, unsent = StudyError("not-sent"), 0
    entire = len(errand.missing()) == len(listed.named) or short > 0
    for _ in range(_REQUESTS):
        if not errand.missing() and not entire:
            break
        taken, failed, errand.entire = len(errand.unlisted), 0, entire

        def ask(entire: bool = entire) -> int:
            named = [*listed.named, *listed.nameless] if entire else errand.missing()
            return archive.retrieve(series, named, errand.receive, alone=not entire)

        try:
            failed = patiently(ask)
        except StudyError as refused:
            why, failed = refused, int(short > 0)
        except SilentArchiveError as silence:
            if not answers():
                raise
            why, failed = StudyError("falls-silent", silence.what), int(short > 0)
            if not entire:
                why = _each(errand, archive, series) or why
                if errand.fault is None:
                    break
        finally:
            errand.entire = False
        if errand.fault is not None:
            return unsent
        if entire:
            unsent = max(0, (failed or 0) - len(errand.missing()))
        grew = len(errand.unlisted) > taken
        entire = unsent > 0 or (len(errand.unlisted) < short and grew)
    errand.give_up(why)
    return unsent


def _each(errand: Errand, archive: Archive, series: Series) -> StudyError | None:
    """Request each missing instance by itself, since one of them makes the archive hang up; return the last refusal.

    Stop after ``_SILENCES`` in succession.
    """
    why: StudyError | None = None
    silences = 0
    for one in errand.missing():
        try:
            archive.retrieve(series, [one], errand.receive, alone=True)
            silences = 0
        except StudyError as refused:
            why, silences = refused, 0
        except SilentArchiveError as silence:
            why, silences = StudyError("falls-silent", silence.what), silences + 1
        if errand.fault is not None or silences == _SILENCES:
            break
    return why
