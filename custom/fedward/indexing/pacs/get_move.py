"""Retrieve instances by C-GET over one association, or by C-MOVE to a storage service of this site.

PS3.4 C.4.3 and C.4.2. The archive need not transcode: C-GET offers every storage class once for each transfer syntax,
so that the archive finds the one in which it stores the instance.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from pydicom import Dataset
from pydicom import uid as syntaxes
from pynetdicom import AE, Association, build_context, build_role, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as GET
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove as MOVE

from fedward.dicom.header import quiet, whole
from fedward.errors import CohortError, StudyError
from fedward.indexing.pacs.archive import Instance, Receive, Series, Verdict, place_of
from fedward.indexing.pacs.dimse import Dimse, associate, query, silent, without_delay
from fedward.indexing.pacs.listing.classes import classes_to_offer
from fedward.settings import Pacs

SYNTAXES = (
    syntaxes.ExplicitVRLittleEndian,
    syntaxes.ImplicitVRLittleEndian,
    syntaxes.ExplicitVRBigEndian,
    syntaxes.RLELossless,
    syntaxes.JPEGLosslessSV1,
    syntaxes.JPEGLossless,
    syntaxes.JPEGLSLossless,
    syntaxes.JPEG2000Lossless,
    syntaxes.HTJ2KLossless,
    syntaxes.HTJ2KLosslessRPCL,
    syntaxes.JPEGBaseline8Bit,
    syntaxes.JPEGExtended12Bit,
    syntaxes.JPEGLSNearLossless,
    syntaxes.JPEG2000,
    syntaxes.HTJ2K,
)
"""Transfer syntaxes that the index can read, uncompressed ones first: a storage service that is offered several in one
context takes the first that it supports, and the archive can always produce it without loss."""
_NOT_STATED = "class-not-stated"
_STATUS: dict[Verdict, int] = {"stored": 0x0000, "refused": 0xC000, "not-asked": 0x0124, "stopped": 0xA700}
"""C-STORE status: success, cannot understand, not authorised, out of resources (PS3.4 B.2.3, PS3.7 C.5)."""
_SOME_FAILED, _UNKNOWN_DESTINATION, _PENDING = 0xB000, 0xA801, 0xFF00


class GetArchive(Dimse):
    """Archive for ``protocol = "c-get"``. The association stays open while the next series has the same classes."""

    def __init__(self, pacs: Pacs) -> None:
        super().__init__(pacs)
        self._receive: Receive | None = None
        self._getting: tuple[list[str], Association] | None = None

    def retrieve(self, series: Series, wanted: Sequence[Instance], receive: Receive, *, alone: bool) -> int:
        association = self._association(classes_to_offer(series, wanted, alone=alone))
        all_stated = all(one.sop_class for one in wanted)
        self._receive = counted = _Counted(receive)
        failed = 0
        try:
            with quiet():
                for status, _ in association.send_c_get(_wanted(series, wanted, alone=alone), GET):
                    failed = _judge(status, self._pacs)
        except StudyError as refusal:
            self._hang_up()
            raise refusal if all_stated else StudyError(_NOT_STATED, refusal.detail) from None
        except BaseException:
            self._hang_up()
            raise
        finally:
            self._receive = None
        unsent = max(0, failed - counted.not_taken)
        if alone and unsent and not all_stated:
            raise StudyError(_NOT_STATED)
        return unsent

    def close(self) -> None:
        if self._getting is not None and self._getting[1].is_established:
            self._getting[1].release()
        self._getting = None
        super().close()

    def _association(self, classes: list[str]) -> Association:
        if self._getting is not None and self._getting[0] == classes and self._getting[1].is_established:
            return self._getting[1]
        if self._getting is not None and self._getting[1].is_established:
            self._getting[1].release()
        contexts = [build_context(GET), *(build_context(name, [one]) for name in classes for one in SYNTAXES)]
        association = associate(
            self._pacs,
            contexts,
            ext_neg=[build_role(name, scp_role=True) for name in classes],
            handlers=[(evt.EVT_C_STORE, self._store)],
        )
        self._getting = (classes, association)
        return association

    def _store(self, event: Any) -> int:
        return _STATUS["not-asked"] if self._receive is None else _take(event, self._receive)

    def _hang_up(self) -> None:
        if self._getting is not None and self._getting[1].is_established:
            self._getting[1].abort()
        self._getting = None


class MoveArchive(Dimse):
    """Archive for ``protocol = "c-move"``: it sends to this site's storage service, open as long as this object."""

    def __init__(self, pacs: Pacs) -> None:
        super().__init__(pacs)
        self._receive: Receive | None = None
        self._moving: Association | None = None
        self._last = time.monotonic()
        self._rejected = ""
        entity = AE(ae_title=pacs.calling_ae_title)
        entity.require_calling_aet, entity.require_called_aet = [str(pacs.ae_title)], True
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = pacs.timeout_s
        for name in _storage_classes():
            entity.add_supported_context(name, list(SYNTAXES))
        try:
            self._service = entity.start_server(
                (pacs.own_host, int(pacs.own_port or 0)),
                block=False,
                evt_handlers=[
                    (evt.EVT_C_STORE, self._store),
                    (evt.EVT_CONN_OPEN, without_delay),
                    (evt.EVT_REJECTED, self._note_rejected),
                ],
            )
        except OSError as error:
            where = f"{pacs.own_host}:{pacs.own_port}"
            remedy = "correct own_host and own_port in site.toml, or stop what has the port"
            raise CohortError(
                "cannot listen for what the archive sends", where=where, value=error.strerror, remedy=remedy
            ) from None

    def retrieve(self, series: Series, wanted: Sequence[Instance], receive: Receive, *, alone: bool) -> int:
        if self._moving is None or not self._moving.is_established:
            self._moving = associate(self._pacs, [build_context(MOVE)])
            self._moving.dimse_timeout = None  # arriving instances are an answer too: the watch below counts them
        association = self._moving
        self._receive = counted = _Counted(receive)
        self._last, self._rejected, failed = time.monotonic(), "", 0
        done = threading.Event()
        watch = threading.Thread(target=self._watch, args=(association, done), daemon=True)
        watch.start()
        asked = _wanted(series, wanted, alone=alone)
        try:
            with quiet():
                for status, _ in association.send_c_move(asked, self._pacs.calling_ae_title, MOVE):
                    self._last = time.monotonic()
                    failed = _judge(status, self._pacs)
        except BaseException:
            if association.is_established:
                association.abort()
            self._require_known(counted)
            raise
        finally:
            self._receive = None
            done.set()
            watch.join()
        self._require_known(counted)
        return max(0, failed - counted.not_taken)

    def close(self) -> None:
        if self._moving is not None and self._moving.is_established:
            self._moving.release()
        self._service.shutdown()
        super().close()

    def _store(self, event: Any) -> int:
        self._last = time.monotonic()
        if self._receive is None:
            return _STATUS["not-asked"]
        return _take(event, self._receive)

    def _note_rejected(self, event: Any) -> None:
        title = str(event.assoc.requestor.ae_title).strip()
        if title != self._pacs.ae_title:
            self._rejected = title

    def _require_known(self, counted: _Counted) -> None:
        """Raise ``CohortError`` if nothing came, and our service turned away a sender with another AE title."""
        if self._rejected and not counted.came:
            title = self._rejected.encode("ascii", "backslashreplace").decode()[:16]
            remedy = (
                f"if that is the archive, write it as ae_title in site.toml, or have it send as {self._pacs.ae_title}"
            )
            raise CohortError(
                "archive sends under another AE title", where=place_of(self._pacs), value=title, remedy=remedy
            )

    def _watch(self, association: Association, done: threading.Event) -> None:
        while not done.wait(0.2):
            if time.monotonic() - self._last > self._pacs.timeout_s:
                association.abort()
                return


class _Counted:
    """Receiver that counts what it did not take: the archive counts that as failed, too."""

    def __init__(self, receive: Receive) -> None:
        self._to, self.came, self.not_taken = receive, 0, 0

    def __call__(self, sent: Dataset) -> Verdict:
        verdict = self._to(sent)
        self.came += 1
        self.not_taken += verdict != "stored"
        return verdict


def _storage_classes() -> list[str]:
    from pynetdicom import AllStoragePresentationContexts

    return [str(context.abstract_syntax) for context in AllStoragePresentationContexts]


def _wanted(series: Series, wanted: Sequence[Instance], *, alone: bool) -> Dataset:
    keys = {"StudyInstanceUID": series.study, "SeriesInstanceUID": series.uid}
    if not alone:
        return query("SERIES", keys)
    return query("IMAGE", {**keys, "SOPInstanceUID": "\\".join(one.uid for one in wanted)})


def _take(event: Any, receive: Receive) -> int:
    try:
        with quiet():
            sent: Dataset = event.dataset
            sent.file_meta = event.file_meta
    except Exception:  # noqa: BLE001 - an unreadable instance counts as missing: requested again, then listed
        return _STATUS["refused"]
    return _STATUS[receive(sent)]


def _judge(status: Dataset, pacs: Pacs) -> int:
    """Return the number of failed sub-operations (PS3.7 9.1.3.1.6): 1 if a warning does not state it.

    Raise for a status that ends a transfer.
    """
    if "Status" not in status:
        raise silent(pacs)
    if status.Status == _UNKNOWN_DESTINATION:
        remedy = f"have it entered in the archive's list, to be reached at {pacs.own_host}:{pacs.own_port}"
        raise CohortError(
            "archive does not know where to send to", where=place_of(pacs), value=pacs.calling_ae_title, remedy=remedy
        )
    if status.Status not in (0, _PENDING, _SOME_FAILED):
        raise StudyError("archive-refused", f"status {status.Status:#06x}")
    failed = whole(status, "NumberOfFailedSuboperations")
    return int(status.Status == _SOME_FAILED) if failed is None else failed
