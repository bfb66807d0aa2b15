"""DICOM's own protocol against real services of pynetdicom on loopback."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    UltrasoundImageStorage,
)
from pynetdicom import AE, association, build_context, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as FIND
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as GET
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove as MOVE
from pynetdicom.sop_class import Verification

from fedward.errors import CohortError, StudyError
from fedward.flare.local_federation import free_port
from fedward.indexing.pacs import echo, get_move
from fedward.indexing.pacs.archive import CutShortError, Instance, Series, SilentArchiveError, Verdict
from fedward.indexing.pacs.dimse import Dimse, associate, query
from fedward.indexing.pacs.get_move import GetArchive, MoveArchive
from fedward.indexing.pacs.listing.classes import MOST, classes_to_offer
from fedward.settings import Pacs
from tests.support.images.dicom_files import image

SENT = image(name=1, patient="P1")
SERIES = Series(SENT.StudyInstanceUID, SENT.SeriesInstanceUID, "CR", 1)
WANTED = [Instance(SENT.SOPInstanceUID, SENT.SOPClassUID)]


@contextmanager
def archive(*handlers: Any, known: bool = True) -> Iterator[int]:
    """A service that answers as ``handlers`` say, up until the end of the ``with``; gives its port."""
    entity = AE(ae_title="ARCHIVE")
    entity.require_called_aet, entity.require_calling_aet = True, ["FEDWARD"] if known else ["OTHERS"]
    for model in (Verification, FIND, MOVE, GET):
        entity.add_supported_context(model)
    for name in (ComputedRadiographyImageStorage, UltrasoundImageStorage):
        entity.add_supported_context(name, [RLELossless, ExplicitVRLittleEndian], scu_role=True, scp_role=True)
        entity.add_requested_context(name, [ExplicitVRLittleEndian])
    port = free_port()
    service = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=list(handlers))
    try:
        yield port
    finally:
        service.shutdown()


def pacs(port: int, **changed: Any) -> Pacs:
    given = {"protocol": "c-get", "host": "127.0.0.1", "port": port, "ae_title": "ARCHIVE", "timeout_s": 2.0}
    return Pacs(**{**given, "query": {"StudyDate": "20200101-20201231", "StudyDescription": "*"}, **changed})


def test_echo_says_what_is_wrong() -> None:
    with archive() as port:
        echo(pacs(port))
        with pytest.raises(CohortError, match="archive does not go by this AE title: 'ARCHIV'"):
            echo(pacs(port, ae_title="ARCHIV"))
    with archive(known=False) as port, pytest.raises(CohortError, match="does not know our AE title: 'FEDWARD'"):
        echo(pacs(port))
    with pytest.raises(SilentArchiveError, match="nothing listens there"):
        echo(pacs(free_port()))
    with archive((evt.EVT_C_ECHO, lambda event: 0x0122)) as port, pytest.raises(CohortError, match="refused C-ECHO"):
        echo(pacs(port))


def test_an_archive_that_offers_nothing_of_what_is_asked_has_answered() -> None:
    with archive() as port, pytest.raises(CohortError, match="archive does not offer this") as error:
        associate(pacs(port), [build_context("1.2.840.10008.5.1.4.1.2.1.1")])
    assert not isinstance(error.value, SilentArchiveError)


def test_studies_are_found_by_keys_and_a_lone_star_asks_for_all() -> None:
    asked: list[Dataset] = []

    def find(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        asked.append(event.identifier)
        answer = Dataset()
        answer.StudyInstanceUID = "1.2.3"
        yield 0xFF00, answer

    with archive((evt.EVT_C_FIND, find)) as port, closing(Dimse(pacs(port))) as asking:
        (study,) = asking.studies()
        assert study.uid == "1.2.3" and "StudyDescription" not in study.answered
        (series,) = asking.series(study.uid)
        assert series.modality == "" and series.instances is None
    assert asked[0].QueryRetrieveLevel == "STUDY" and asked[0].StudyDate == "20200101-20201231"
    assert asked[0].StudyDescription == "" and asked[1].StudyInstanceUID == "1.2.3"
    assert {"NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"} <= {one.keyword for one in asked[0]}


def test_a_question_that_is_refused_or_not_answered_is_an_error() -> None:
    refused = pytest.raises(CohortError, match="archive refused the question: '0xa900'")
    with archive((evt.EVT_C_FIND, lambda event: iter([(0xA900, None)]))) as port:
        with closing(Dimse(pacs(port))) as asking, refused:
            asking.studies()
        with closing(Dimse(pacs(port))) as asking, pytest.raises(StudyError, match="archive-refused"):
            asking.series("1.2.3")
    hang_up = (evt.EVT_C_FIND, lambda event: event.assoc.abort())
    silence = pytest.raises(SilentArchiveError, match="hung up or fell silent")
    with archive(hang_up) as port, closing(Dimse(pacs(port))) as asking, silence:
        asking.studies()


def _answers(number: int, status: int | None) -> Any:
    """A C-FIND handler that gives so many answers and then this status; the last answer has no UID."""

    def find(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        for one in range(number):
            answer = Dataset()
            answer.QueryRetrieveLevel = event.identifier.QueryRetrieveLevel
            level = {"STUDY": "Study", "SERIES": "Series", "IMAGE": "SOP"}[answer.QueryRetrieveLevel]
            setattr(answer, f"{level}InstanceUID", f"1.2.{one}" if one < number - 1 else "")
            answer.NumberOfStudyRelatedSeries, answer.NumberOfStudyRelatedInstances = 2, "7"
            answer.NumberOfSeriesRelatedInstances = 5
            yield 0xFF00, answer
        if status is not None:
            yield status, None

    return evt.EVT_C_FIND, find


@pytest.mark.parametrize("status", [0xFE00, 0xA700, 0xB000, 0xC001, 0xA900])
@pytest.mark.parametrize("number", [0, 2])
def test_a_list_that_ends_with_a_status_is_not_whole(status: int, number: int) -> None:
    """Cancel, out of resources, a warning, a failure: after an answer, each says that more would have come."""
    cut = number or status not in (0xC001, 0xA900)
    words = f"cut its list of studies short after {number}, .*'{status:#06x}'; narrow query" if cut else "refused"
    with archive(_answers(number, status)) as port:
        with closing(Dimse(pacs(port))) as asking, pytest.raises(CohortError, match=words) as error:
            asking.studies()
        assert "\n" not in str(error.value)
        for ask in (lambda one: one.series("1.2"), lambda one: one.instances(SERIES)):
            reason = pytest.raises(StudyError, match="cut-short" if cut else "archive-refused")
            with closing(Dimse(pacs(port))) as asking, reason as refusal:
                ask(asking)
            if isinstance(refusal.value, CutShortError):
                assert len(refusal.value.answers) == number and refusal.value.missing is None


def test_numbers_are_asked_for_and_answers_without_a_uid_are_kept() -> None:
    with archive(_answers(2, None)) as port:
        with closing(Dimse(pacs(port))) as asking:
            assert [(one.uid, one.series, one.instances) for one in asking.studies()] == [("1.2.0", 2, 7), ("", 2, 7)]
        with closing(Dimse(pacs(port))) as asking:
            assert [(one.uid, one.instances) for one in asking.series("1.2")] == [("1.2.0", 5), ("", 5)]
        with closing(Dimse(pacs(port))) as asking:
            assert [one.uid for one in asking.instances(SERIES)] == ["1.2.0", ""]


def test_an_answer_that_cannot_be_decoded_is_one_without_a_uid() -> None:
    def find(event: Any) -> Iterator[tuple[int, Any]]:
        for uid in ("1.2.1", "1.2.2", "1.2.3"):
            answer = Dataset()
            answer.StudyInstanceUID = uid
            yield 0xFF00, answer

    with (
        archive((evt.EVT_C_FIND, find)) as port,
        closing(Dimse(pacs(port))) as asking,
        pytest.MonkeyPatch.context() as m,
    ):
        decode, calls = association.decode, iter(range(9))

        def failing(*given: Any) -> Any:
            if next(calls) == 1:
                raise ValueError("no data set")
            return decode(*given)

        m.setattr(association, "decode", failing)
        assert [one.uid for one in asking.studies()] == ["1.2.1", "", "1.2.3"]


def test_no_answer_is_taken_by_the_thread_that_waits_for_requests() -> None:
    """pynetdicom's own thread stays behind at its checkpoint, past the pause, as it does on a busy machine."""
    with archive(_answers(4, None)) as port:
        link = associate(pacs(port), [build_context(FIND)])
        stolen: list[Any] = []
        sending = link.dimse.send_msg

        def late(*given: Any) -> None:
            sending(*given)
            until = time.monotonic() + 0.3
            while time.monotonic() < until and not stolen:
                stolen.extend(one for one in link.dimse.get_msg(block=False) if one is not None)
                time.sleep(0.01)

        link.dimse.send_msg = late
        answers = list(link.send_c_find(query("IMAGE", {"SOPInstanceUID": ""}), FIND))
        assert not stolen and [status.Status for status, _ in answers] == [0xFF00] * 4 + [0x0000]
        link.release()


def test_several_instances_are_asked_for_by_a_list_of_uids() -> None:
    asked = query("IMAGE", {"SOPInstanceUID": "1.2\\1.3"})
    assert list(asked.SOPInstanceUID) == ["1.2", "1.3"]
    assert query("STUDY", {"PatientName": "Å*"}).SpecificCharacterSet == "ISO_IR 192"


def test_get_offers_every_syntax_by_itself_and_takes_what_comes() -> None:
    offered: list[tuple[str, list[str]]] = []

    def get(event: Any) -> Iterator[Any]:
        contexts = event.assoc.requestor.requested_contexts
        offered.extend((str(one.abstract_syntax), list(one.transfer_syntax)) for one in contexts)
        yield 1
        yield 0xFF00, SENT

    came: list[Dataset] = []

    def receive(sent: Dataset) -> Verdict:
        came.append(sent)
        return "stored"

    with archive((evt.EVT_C_GET, get)) as port, closing(GetArchive(pacs(port))) as way:
        way.retrieve(SERIES, WANTED, receive, alone=False)
    assert [one.SOPInstanceUID for one in came] == [SENT.SOPInstanceUID]
    assert came[0].pixel_array.tolist() == SENT.pixel_array.tolist()
    own = [syntaxes for name, syntaxes in offered if name == SENT.SOPClassUID]
    assert all(len(one) == 1 for one in own) and [RLELossless] in own and len(offered) <= 128


@pytest.mark.parametrize("modality", [*"US SC OT XA RF SEG NM PT MG IO ES DX CT".split(), ""])  # noqa: SIM905
def test_classes_that_are_not_stated_are_the_usual_ones_of_the_modality(modality: str) -> None:
    asked = Series("1.2", "1.3", modality, None)
    unknown, known = Instance("1.4", ""), Instance("1.5", "1.2.840.10008.5.1.4.1.1.481.1")
    whole = classes_to_offer(asked, [unknown, known], alone=False)
    single = classes_to_offer(asked, [unknown], alone=True)
    assert known.sop_class in whole and len(whole) <= MOST >= len(single) and len({*whole, *single}) > MOST
    assert classes_to_offer(asked, [known], alone=False) == [known.sop_class]
    usual = classes_to_offer(asked, [unknown], alone=False)
    expected = {"US": "6.1", "SC": "7", "OT": "7", "XA": "12.1", "RF": "12.2", "SEG": "66.4", "NM": "20", "PT": "128"}
    expected |= {"MG": "1.2", "IO": "1.3", "ES": "77.1.1", "DX": "1.1", "CT": "2", "": "2"}
    assert f"1.2.840.10008.5.1.4.1.1.{expected[modality]}" in usual


def test_a_class_that_we_did_not_offer_is_not_the_archives_refusal() -> None:
    def get(event: Any) -> Iterator[Any]:
        yield 1
        other = image(name=2, patient="P1")
        other.SOPClassUID = other.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.1"
        yield 0xFF00, other

    unknown = [Instance(SENT.SOPInstanceUID, "")]
    with archive((evt.EVT_C_GET, get)) as port, closing(GetArchive(pacs(port))) as way:
        for alone in (True, False):
            with pytest.raises(StudyError, match="class-not-stated"):
                way.retrieve(SERIES, unknown, lambda sent: "stored", alone=alone)
            with pytest.raises(StudyError, match="archive-refused"):
                way.retrieve(SERIES, WANTED, lambda sent: "stored", alone=alone)


def test_a_status_of_failure_is_that_series_own() -> None:
    def get(event: Any) -> Iterator[Any]:
        yield 1
        yield 0xA701, None

    refused = pytest.raises(StudyError, match="archive-refused")
    with archive((evt.EVT_C_GET, get)) as port, closing(GetArchive(pacs(port))) as way, refused:
        way.retrieve(SERIES, WANTED, lambda sent: "stored", alone=True)


@pytest.mark.parametrize("verdict", ["stored", "not-asked", "refused"])
@pytest.mark.parametrize("protocol", ["c-get", "c-move"])
def test_failed_suboperations_are_told_without_those_that_we_did_not_take(protocol: str, verdict: Verdict) -> None:
    other = image(name=2, patient="P1")
    other.SOPClassUID = other.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"  # not offered
    own_port = free_port()

    def send(event: Any) -> Iterator[Any]:
        if protocol == "c-move":
            contexts = [build_context(SENT.SOPClassUID, [ExplicitVRLittleEndian])]
            yield "127.0.0.1", own_port, {"contexts": contexts}
        yield 3
        yield 0xFF00, SENT
        yield 0xFF00, other
        yield 0xFF00, SENT

    handlers = [(evt.EVT_C_GET, send), (evt.EVT_C_MOVE, send)]
    with archive(*handlers) as port:
        asked = pacs(port, protocol=protocol, own_port=own_port)
        with closing(GetArchive(asked) if protocol == "c-get" else MoveArchive(asked)) as way:
            verdicts: Iterator[Verdict] = iter(("stored", verdict))
            assert way.retrieve(SERIES, WANTED, lambda sent: next(verdicts), alone=False) == 1


def test_a_warning_without_a_number_tells_of_one() -> None:
    status = Dataset()
    status.Status = 0xB000
    assert get_move._judge(status, pacs(104)) == 1
    status.NumberOfFailedSuboperations = 0
    assert get_move._judge(status, pacs(104)) == 0, "warnings alone"
    status.Status = 0x0000
    status.NumberOfFailedSuboperations = 2
    assert get_move._judge(status, pacs(104)) == 2


def _store(port: int, *, own: str, called: str = "FEDWARD") -> int | None:
    """Send the image to a storage service; its status, or None where there is no association."""
    entity = AE(ae_title=own)
    entity.add_requested_context(SENT.SOPClassUID, [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
    association = entity.associate("127.0.0.1", port, ae_title=called)
    if not association.is_established:
        return None
    status = association.send_c_store(SENT)
    association.release()
    return int(status.Status)


def test_move_is_taken_from_the_archive_alone_and_only_while_it_was_asked() -> None:
    came: list[str] = []
    statuses: list[int | None] = []
    own_port = free_port()

    def receive(sent: Dataset) -> Verdict:
        came.append(sent.SOPInstanceUID)
        return "stored"

    def move(event: Any) -> Iterator[Any]:
        yield "127.0.0.1", own_port
        yield 1
        statuses.append(_store(own_port, own="STRANGER"))
        statuses.append(_store(own_port, own="ARCHIVE", called="OTHERS"))
        statuses.append(_store(own_port, own="ARCHIVE"))
        yield 0xFF00, SENT

    with archive((evt.EVT_C_MOVE, move)) as port:
        asked = pacs(port, protocol="c-move", own_port=own_port, timeout_s=10.0)
        with closing(MoveArchive(asked)) as way:
            assert _store(own_port, own="ARCHIVE") == 0x0124, "nothing was asked for yet"
            way.retrieve(SERIES, WANTED, receive, alone=False)
            assert _store(own_port, own="ARCHIVE") == 0x0124, "nothing is asked for any more"
            with pytest.raises(CohortError, match="cannot listen for what the archive sends"):
                MoveArchive(asked)
    assert statuses == [None, None, 0x0000] and len(came) == 2


def test_an_archive_that_sends_under_another_title_is_told_apart() -> None:
    own_port = free_port()

    def move(event: Any) -> Iterator[Any]:
        yield "127.0.0.1", own_port
        yield 1
        _store(own_port, own="OTHER")
        yield 0xA702, None

    with archive((evt.EVT_C_MOVE, move)) as port:
        asked = pacs(port, protocol="c-move", own_port=own_port, timeout_s=10.0)
        refused = pytest.raises(
            CohortError, match="sends under another AE title: 'OTHER'; if that is the archive, write"
        )
        with closing(MoveArchive(asked)) as way, refused as error:
            way.retrieve(SERIES, WANTED, lambda sent: "stored", alone=False)
        assert not isinstance(error.value, StudyError | SilentArchiveError)


def test_move_to_a_place_that_the_archive_does_not_know() -> None:
    def move(event: Any) -> Iterator[Any]:
        yield None, None

    with archive((evt.EVT_C_MOVE, move)) as port:
        asked = pacs(port, protocol="c-move", own_port=free_port())
        with closing(MoveArchive(asked)) as way, pytest.raises(CohortError, match="does not know where to send to"):
            way.retrieve(SERIES, WANTED, lambda sent: "stored", alone=False)
