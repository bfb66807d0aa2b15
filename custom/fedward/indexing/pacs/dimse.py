"""Query an archive over DICOM's network protocol: associations, C-ECHO and C-FIND (PS3.4 C.4.1, PS3.7, PS3.8).

pynetdicom's log is silenced throughout: at some levels it writes whole data sets.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from pydicom import DataElement, Dataset, config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pynetdicom import AE, Association, build_context, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as FIND
from pynetdicom.sop_class import Verification

from fedward.dicom.header import quiet, text
from fedward.errors import CohortError, StudyError
from fedward.indexing.pacs.archive import (
    CutShortError,
    Instance,
    Series,
    SilentArchiveError,
    Study,
    find_keys,
    place_of,
    studies_cut_short,
)
from fedward.indexing.pacs.listing import data_set
from fedward.settings import Pacs

_PENDING = (0xFF00, 0xFF01)
_CUT_SHORT = (0xFE00, 0xA700, *range(0xB000, 0xC000))
"""Final C-FIND statuses of a list that is not whole, even if it is empty: cancel, out of resources, warnings (PS3.4
table C.4-1, PS3.7 C). Any other failure after an answer says so too."""
_Answer = TypeVar("_Answer")
_UNKNOWN_CALLER, _UNKNOWN_CALLED = 3, 7
"""Diagnostics of a rejected association (PS3.8 table 9-21)."""


class Dimse:
    """C-FIND queries over one association, which is opened again if the archive has closed it."""

    def __init__(self, pacs: Pacs) -> None:
        self._pacs, self._keys = pacs, find_keys(pacs)
        self._asking: Association | None = None
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)

    def studies(self) -> list[Study]:
        numbers = {"NumberOfStudyRelatedSeries": "", "NumberOfStudyRelatedInstances": ""}
        keys = {**numbers, **self._keys, "StudyInstanceUID": self._keys.get("StudyInstanceUID", "")}
        try:
            return self._find("STUDY", keys, lambda one: data_set.study(one, self._keys))
        except CutShortError as short:
            raise studies_cut_short(self._pacs, len(short.answers), value=_status(short)) from None
        except StudyError as refusal:
            remedy = "see its log; the keys in query must be ones that it can search by"
            raise CohortError(
                "archive refused the question", where=place_of(self._pacs), value=_status(refusal), remedy=remedy
            ) from None

    def series(self, study: str) -> list[Series]:
        keys = {
            "StudyInstanceUID": study,
            "SeriesInstanceUID": "",
            "Modality": "",
            "NumberOfSeriesRelatedInstances": "",
        }

        def read(one: Dataset) -> Series:
            number = data_set.number(one, "NumberOfSeriesRelatedInstances")
            return Series(study, text(one, "SeriesInstanceUID"), text(one, "Modality").upper(), number)

        return self._find("SERIES", keys, read)

    def instances(self, series: Series) -> list[Instance]:
        keys = {
            "StudyInstanceUID": series.study,
            "SeriesInstanceUID": series.uid,
            "SOPInstanceUID": "",
            "SOPClassUID": "",
        }
        return self._find("IMAGE", keys, data_set.instance)

    def close(self) -> None:
        if self._asking is not None and self._asking.is_established:
            self._asking.release()
        self._asking = None

    def _find(self, level: str, keys: Mapping[str, str], read: Callable[[Dataset], _Answer]) -> list[_Answer]:
        """Return all answers; one that cannot be decoded counts as an answer without a UID.

        Raises:
            CutShortError: the final status says that the list is not whole.
            StudyError: the archive refused the question.
            SilentArchiveError: there was no final status.
        """
        if self._asking is None or not self._asking.is_established:
            self._asking = associate(self._pacs, [build_context(FIND)])
        answers: list[_Answer] = []
        final: int | None = None
        undecoded: Dataset | None = None
        with quiet():
            for status, answer in self._asking.send_c_find(query(level, keys), FIND):
                final = status.get("Status")
                if final in _PENDING and status is not undecoded:  # which pynetdicom gives twice
                    answers.append(read(Dataset() if answer is None else answer))
                undecoded = status if answer is None else None
        if final is None or final in _PENDING:
            self._asking.abort()
            raise silent(self._pacs)
        if final != 0 and (answers or final in _CUT_SHORT):
            raise CutShortError(detail=f"status {final:#06x}", answers=answers)
        if final != 0:
            raise StudyError("archive-refused", f"status {final:#06x}")
        return answers


def query(level: str, keys: Mapping[str, str]) -> Dataset:
    """Build an identifier for C-FIND, C-MOVE or C-GET; several UIDs are separated by a backslash."""
    asked = Dataset()
    if not all(value.isascii() for value in keys.values()):
        asked.SpecificCharacterSet = "ISO_IR 192"
    asked.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        tag: Any = tag_for_keyword(keyword)
        vr = dictionary_VR(tag)
        with quiet():  # a range of dates is not a valid date
            asked.add(DataElement(tag, vr, value, config.IGNORE))
    return asked


def echo(pacs: Pacs) -> None:
    """Send C-ECHO. Raises ``CohortError`` with the reason if the archive does not answer it."""
    association = associate(pacs, [build_context(Verification)])
    status = association.send_c_echo()
    association.release()
    if "Status" not in status:
        raise silent(pacs)
    if status.Status != 0:
        raise CohortError(
            "archive refused C-ECHO", where=place_of(pacs), value=hex(status.Status), remedy="see its log"
        )


def associate(pacs: Pacs, contexts: Sequence[Any], *, handlers: Sequence[Any] = (), **more: Any) -> Association:
    """Open an association with the archive that has at least the first of ``contexts``.

    Raises:
        SilentArchiveError: the archive cannot be reached, or is too busy.
        CohortError: the archive does not know one of the two AE titles, or does not offer what is requested.
    """
    entity = AE(ae_title=pacs.calling_ae_title)
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = pacs.timeout_s
    entity.network_timeout = 10 * pacs.timeout_s
    try:
        with quiet():
            association = entity.associate(
                pacs.host,
                pacs.port,
                contexts=list(contexts),
                ae_title=str(pacs.ae_title),
                evt_handlers=[
                    (evt.EVT_CONN_OPEN, without_delay),
                    (evt.EVT_ESTABLISHED, keep_responses),
                    *handlers,
                ],
                **more,
            )
    except OSError as error:  # a host without an address
        what, remedy = _socket_error(error)
        raise SilentArchiveError(what, where=place_of(pacs), remedy=remedy) from None
    none_accepted = not association.accepted_contexts and bool(association.rejected_contexts)
    if not association.is_established and not none_accepted:
        raise _why_not(pacs, association)
    if contexts[0].abstract_syntax not in {one.abstract_syntax for one in association.accepted_contexts}:
        if association.is_established:
            association.release()
        name = contexts[0].abstract_syntax.name
        raise CohortError("archive does not offer this", where=place_of(pacs), value=name, remedy="choose another way")
    return association


def without_delay(event: Any) -> None:
    """Send at once (TCP_NODELAY): a query is two packets, and the second would wait until the first is acknowledged."""
    connection = event.assoc.dul.socket
    if connection is not None and connection.socket is not None:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class _Checkpoint(threading.Event):
    """Event at which pynetdicom's own thread of an association pauses while a request is under way.

    Attributes:
        turn: held while that thread takes a message, and while it is paused.
    """

    def __init__(self) -> None:
        super().__init__()
        self.turn = threading.Lock()
        self.set()

    def clear(self) -> None:
        with self.turn:
            super().clear()


def keep_responses(event: Any) -> None:
    """Keep pynetdicom's own thread of an association from taking, and dropping, a response to a request.

    That thread is paused while a request is under way. If the pause comes while it is between its checkpoint and the
    queue, it still takes one message: an answer of a C-FIND would be missing, and the final status be success.
    """
    association, provider = event.assoc, event.assoc.dimse
    checkpoint, take = _Checkpoint(), event.assoc.dimse.get_msg

    def get_msg(block: bool = False) -> Any:
        if block:
            return take(block)
        with checkpoint.turn:
            return take(block) if checkpoint.is_set() else (None, None)

    association._reactor_checkpoint, provider.get_msg = checkpoint, get_msg


def silent(pacs: Pacs) -> SilentArchiveError:
    """Return the error for an archive that closed the connection or did not answer within ``timeout_s``."""
    remedy = "does it still run, and is our AE title in its list? Then run the same command again: it goes on from here"
    return SilentArchiveError("archive hung up or fell silent", where=place_of(pacs), remedy=remedy)


def _why_not(pacs: Pacs, association: Association) -> CohortError:
    if association.is_rejected:
        answer = association.acceptor.primitive
        diagnostic = (answer.result_source, answer.diagnostic) if answer is not None else (0, 0)
        if diagnostic == (1, _UNKNOWN_CALLER):
            remedy = "have calling_ae_title entered in the archive's list, with this machine's address"
            return CohortError(
                "archive does not know our AE title", where=place_of(pacs), value=pacs.calling_ae_title, remedy=remedy
            )
        if diagnostic == (1, _UNKNOWN_CALLED):
            remedy = "correct ae_title in site.toml"
            return CohortError(
                "archive does not go by this AE title", where=place_of(pacs), value=pacs.ae_title, remedy=remedy
            )
        if diagnostic[0] == 3:
            return SilentArchiveError("archive is too busy", where=place_of(pacs), remedy="try again later")
        return CohortError(
            "archive rejected the association",
            where=place_of(pacs),
            remedy="have our AE title and address allowed there",
        )
    try:
        socket.create_connection((str(pacs.host), int(pacs.port or 0)), timeout=pacs.timeout_s).close()
    except OSError as error:
        what, remedy = _socket_error(error)
        return SilentArchiveError(what, where=place_of(pacs), remedy=remedy)
    remedy = "is this its DICOM port, and is our AE title with this machine's address in its list?"
    return SilentArchiveError("something listens there, and hung up on us", where=place_of(pacs), remedy=remedy)


def _socket_error(error: OSError) -> tuple[str, str]:
    if isinstance(error, socket.gaierror):
        return "archive's host has no address", "correct host in site.toml, or the name service"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there", "correct host and port in site.toml, or start the archive"
    if isinstance(error, TimeoutError):
        return "no answer from there", "correct host in site.toml, or have the firewall let us through"
    return f"archive cannot be reached ({error.strerror or type(error).__name__})", "look at the network"


def _status(refusal: StudyError) -> str:
    return refusal.detail.removeprefix("status ")
