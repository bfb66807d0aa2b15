"""Track the transfer of one series: the instances still missing, and the outcome of each instance that was sent."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from pydicom import Dataset

from fedward.dicom.header import text
from fedward.errors import StudyError
from fedward.indexing.pacs.archive import Instance, Series, Verdict
from fedward.indexing.pacs.deidentify import deidentify
from fedward.indexing.pacs.store import Store
from fedward.indexing.site_key import SiteKey


class Errand:
    """Receiver of one series' instances, from any thread. Only de-identified files reach the disk.

    Attributes:
        refused: instance -> reason and detail.
        stored: number of instances written.
        uninvited: number of instances sent without a request.
        fault: exception that ended the transfer, such as a full disk; None if there was none.
    """

    def __init__(self, series: Series, instances: Sequence[Instance], *, store: Store, key: SiteKey) -> None:
        self._series, self._store, self._key = series, store, key
        self._waiting = {one.uid: one for one in instances if not store.has(series, one.uid)}
        self._asked = frozenset(self._waiting)
        self._lock = threading.Lock()
        self.refused: dict[str, StudyError] = {}
        self.stored = self.uninvited = 0
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
            if instance not in self._asked or place != (self._series.study, self._series.uid):
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

    def give_up(self, refusal: StudyError) -> None:
        """Refuse every missing instance with this reason."""
        with self._lock:
            for instance in list(self._waiting):
                self._refuse(instance, refusal)

    def _refuse(self, instance: str, refusal: StudyError) -> None:
        del self._waiting[instance]
        self.refused[instance] = refusal
