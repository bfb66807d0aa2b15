"""Lists of an archive that are cut short: the run stops, or what is missing is counted as lost."""

from __future__ import annotations

import csv
import logging
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset

from fedward.errors import CohortError
from fedward.indexing.pacs import fetch, web
from fedward.indexing.pacs import series_transfer as errands
from fedward.indexing.pacs.archive import CutShortError, Instance, Series, SilentArchiveError, Study
from fedward.indexing.pacs.fetch import BESIDE, REFUSED, Fetched, fetch_cohort
from fedward.indexing.pacs.listing.held import ListedStudy, Listing
from fedward.indexing.pacs.reasons import REASONS
from fedward.indexing.pacs.series_transfer import Errand
from fedward.indexing.pacs.store import Store
from fedward.indexing.site_key import load_key
from tests.support.images.dicom_files import image, uid
from tests.support.images.dicom_files import series as slices
from tests.support.images.dicomweb import URL, DicomWeb, Warns
from tests.unit.indexing.pacs.test_fetch import policy

PACS = {"protocol": "dicomweb", "url": URL, "query": {"StudyDate": "20200101"}, "timeout_s": 3.0}
STUDY = uid("P1", "study")


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[[DicomWeb], None]:
    """Makes an archive the one that is fetched from; files are marks, so that a run takes milliseconds."""
    monkeypatch.setattr(errands, "deidentify", lambda sent, key: b"file")
    monkeypatch.setattr(fetch, "PAUSES_S", (0.0, 0.0))
    return lambda archive: monkeypatch.setattr(web, "session", archive.session)


def fetched(root: Path, **cohort: Any) -> Fetched:
    given = {"pacs": PACS, "modalities": (), "max_quarantined_fraction": 1.0, **cohort}
    done = fetch_cohort(policy(root, **given), "chest")
    lost = {reason: number for reason, number in done.refused.items() if reason not in BESIDE}
    assert done.found == done.fetched + done.already + sum(lost.values())
    assert sum(int(line["instances lost"]) for line in lines(root)) == sum(lost.values())
    assert done.fetched + done.already <= len(list((root / "images").rglob("*.dcm")))
    return done


def lines(root: Path) -> list[dict[str, str]]:
    with (root / "index" / REFUSED).open(newline="") as file:
        return list(csv.DictReader(file))


def studies(number: int) -> list[Dataset]:
    return [image(name=n, patient=f"P{n}") for n in range(number)]


@pytest.mark.parametrize("warns", ["truly", "with-number", "always"])
def test_a_list_of_studies_cut_short_ends_the_run_in_one_line(
    tmp_path: Path, connect: Callable[[DicomWeb], None], warns: Warns
) -> None:
    archive = DicomWeb(studies(7))
    archive.cap, archive.heeds_offset, archive.warns = 3, False, warns
    connect(archive)
    with pytest.raises(
        CohortError, match=r"cut its list of studies short after 3, .* narrow query in site.toml"
    ) as error:
        fetched(tmp_path)
    assert "\n" not in str(error.value) and not list(tmp_path.rglob("*.dcm"))


@pytest.mark.parametrize(("cap", "window"), [(500, 3), (3, 3), (2, 4)])
def test_pages_that_end_before_the_list_does_end_the_run(
    tmp_path: Path, connect: Callable[[DicomWeb], None], cap: int, window: int
) -> None:
    archive = DicomWeb(studies(7))
    archive.cap, archive.window = cap, window
    connect(archive)
    with pytest.raises(CohortError, match=f"cut its list of studies short after {window}, "):
        fetched(tmp_path)


@pytest.mark.parametrize("warns", ["truly", "with-number", "never"])
@pytest.mark.parametrize(("cap", "heeds"), [(3, True), (500, False)])
def test_pages_that_are_short_or_no_pages_at_all_lose_nothing(
    tmp_path: Path, connect: Callable[[DicomWeb], None], warns: Warns, cap: int, heeds: bool
) -> None:
    archive = DicomWeb([*studies(7), *slices(7, patient="Q")])
    archive.cap, archive.heeds_offset, archive.warns = cap, heeds, warns
    connect(archive)
    done = fetched(tmp_path)
    assert (done.studies, done.fetched, done.refused) == (8, 14, {})


def test_instances_that_the_list_lacks_come_with_the_series(
    tmp_path: Path, connect: Callable[[DicomWeb], None]
) -> None:
    archive = DicomWeb(slices(7))
    archive.cap, archive.heeds_offset = 3, False
    connect(archive)
    first = fetched(tmp_path)
    assert (first.found, first.fetched, first.refused) == (7, 7, {})
    archive.asked.clear()
    again = fetched(tmp_path)
    assert (again.already, again.fetched) == (7, 0)
    assert not any(urlsplit(one).path.endswith(archive.held[0].SeriesInstanceUID) for one in archive.asked)


@pytest.mark.parametrize(
    ("warns", "stated", "lost"),
    [
        ("truly", True, {"cut-short": 4}),
        ("never", True, {"not-listed": 4}),
        ("with-number", False, {"cut-short": 4}),
        ("truly", False, {"cut-short": 1}),
    ],
)
def test_instances_that_do_not_come_with_the_series_either_are_lost_and_counted(
    tmp_path: Path, connect: Callable[[DicomWeb], None], warns: Warns, stated: bool, lost: dict[str, int]
) -> None:
    archive = DicomWeb(slices(7))
    archive.cap, archive.heeds_offset, archive.sends_all, archive.warns = 3, False, False, warns
    archive.states = lambda number: number if stated else None
    connect(archive)
    done = fetched(tmp_path)
    assert (done.fetched, done.refused) == (3, lost)
    assert {line["reason"] for line in lines(tmp_path)} == set(lost) <= set(REASONS)
    with pytest.raises(CohortError, match=f"{sum(lost.values())} of {3 + sum(lost.values())} instances could not be"):
        fetched(tmp_path, max_quarantined_fraction=0.1)
    archive.cap = 500
    whole = fetched(tmp_path)
    assert (whole.already, whole.fetched, whole.refused) == (3, 4, {})


@pytest.mark.parametrize("partial", ["206", "broken"])
@pytest.mark.parametrize(("stated", "lost"), [(False, {"sent-in-part": 1}), (True, {"cut-short": 2})])
def test_a_cut_list_and_a_series_sent_in_part_do_not_make_a_whole(
    tmp_path: Path, connect: Callable[[DicomWeb], None], partial: str, stated: bool, lost: dict[str, int]
) -> None:
    archive = DicomWeb(slices(5))
    archive.heeds_offset, archive.cap, archive.partial = False, 1, partial
    archive.states = lambda number: number if stated else None
    connect(archive)
    whole = fetched(tmp_path)
    assert whole.fetched == 5 and whole.refused == ({} if stated else {"sent-in-part": 1}), "a number speaks for it"
    shutil.rmtree(tmp_path / "images")
    archive.sends_all, archive.cap = False, 3
    done = fetched(tmp_path)
    assert done.fetched == 3 and sum(done.refused.values()) >= sum(lost.values())
    archive.partial, archive.cap = None, 500
    again = fetched(tmp_path)
    assert (again.already, again.fetched, again.refused) == (3, 2, {}), "the next run asks again"


def test_a_series_sent_in_part_whose_list_is_whole_is_asked_for_by_name(
    tmp_path: Path, connect: Callable[[DicomWeb], None]
) -> None:
    archive = DicomWeb(slices(5))
    archive.sends_all, archive.cap, archive.partial = False, 3, "206"
    connect(archive)
    done = fetched(tmp_path)
    assert (done.fetched, done.refused) == (5, {})


@pytest.mark.parametrize("status", [404, 410, 406, 500])
@pytest.mark.parametrize("bad", [[0], [2], [0, 1, 4]])
def test_one_bad_instance_takes_no_neighbour_along(
    tmp_path: Path, connect: Callable[[DicomWeb], None], status: int, bad: list[int]
) -> None:
    archive = DicomWeb(slices(5))
    archive.broken = {archive.held[n].SOPInstanceUID: status for n in bad}
    connect(archive)
    done = fetched(tmp_path)
    assert (done.fetched, done.refused) == (5 - len(bad), {"archive-refused": len(bad)})
    assert {line["detail"] for line in lines(tmp_path)} == {f"HTTP {status}"}


@pytest.mark.parametrize("status", [0, 429, 503])
@pytest.mark.parametrize("bad", [[0], [1, 3], [0, 1, 2, 3, 4]])
def test_a_series_over_which_the_archive_falls_silent_does_not_hold_up_the_others(
    tmp_path: Path, connect: Callable[[DicomWeb], None], status: int, bad: list[int]
) -> None:
    archive = DicomWeb([*slices(5), *studies(3)])
    archive.broken = {archive.held[n].SOPInstanceUID: status for n in bad}
    connect(archive)
    done = fetched(tmp_path)
    assert (done.fetched, done.refused) == (8 - len(bad), {"falls-silent": len(bad)})
    archive.broken = {}
    assert fetched(tmp_path).fetched == len(bad)


def test_an_archive_that_answers_questions_and_sends_nothing_ends_the_run(
    tmp_path: Path, connect: Callable[[DicomWeb], None]
) -> None:
    archive = DicomWeb(studies(30))
    archive.broken = {one.SOPInstanceUID: 503 for one in archive.held}
    connect(archive)
    with pytest.raises(SilentArchiveError):
        fetched(tmp_path)


def test_series_that_the_list_lacks_are_lost_and_counted(tmp_path: Path, connect: Callable[[DicomWeb], None]) -> None:
    held = [one for name in range(4) for one in slices(2, name=name)]
    archive = DicomWeb(held)
    archive.cap, archive.heeds_offset, archive.warns = 3, False, "never"
    connect(archive)
    done = fetched(tmp_path)
    assert (done.series, done.fetched, done.refused) == (3, 6, {"not-listed": 2})
    assert "3 of 4 series, 8 instances stated" in lines(tmp_path)[0]["detail"]
    assert "modality of the rest unknown" in lines(tmp_path)[0]["detail"]


@pytest.mark.parametrize("cap", [2, 500])
def test_an_archive_that_warns_with_every_answer_is_heard_by_its_pages_and_numbers(
    tmp_path: Path, connect: Callable[[DicomWeb], None], caplog: pytest.LogCaptureFixture, cap: int
) -> None:
    """It warns of more with its last page, which is empty, and with a question for one study: that says nothing."""
    archive = DicomWeb([*studies(5), *slices(5, patient="Q"), image(name="x", patient="Q", modality="CT")])
    archive.cap, archive.warns = cap, "always"
    connect(archive)
    with caplog.at_level(logging.DEBUG):
        done = fetched(tmp_path)
    assert (done.studies, done.fetched, done.refused) == (6, 11, {})
    assert not [one for one in caplog.records if "additional" in one.getMessage()], "an archive's words are not printed"


def test_what_has_no_uid_is_counted_and_listed(tmp_path: Path, connect: Callable[[DicomWeb], None]) -> None:
    held = [*studies(3), *slices(2, patient="Q", name="a"), *slices(4, patient="R", name="b")]
    archive = DicomWeb(held)
    archive.nameless = frozenset(
        map(
            str, [held[0].StudyInstanceUID, held[3].SeriesInstanceUID, held[-1].SOPInstanceUID, held[-2].SOPInstanceUID]
        )
    )
    archive.sends_all, archive.cap = False, 2
    connect(archive)
    done = fetched(tmp_path)
    assert (done.found, done.fetched, done.refused) == (9, 4, {"no-uid": 5})
    archive.sends_all = True
    assert fetched(tmp_path).refused == {"no-uid": 3}, "the series brings the instances without a UID in its list"


def test_a_null_modality_drops_no_series_and_a_null_uid_is_counted(
    tmp_path: Path, connect: Callable[[DicomWeb], None]
) -> None:
    archive = DicomWeb([*slices(3), *slices(2, patient="Q")])
    unnamed = archive.held[-1].StudyInstanceUID
    archive.value = lambda vr, value: {"vr": vr, "Value": [None if vr == "CS" or value == unnamed else value]}
    connect(archive)
    done = fetched(tmp_path, modalities=("CT",))
    assert (done.found, done.fetched, done.refused) == (5, 3, {"no-uid": 2})
    assert not any("None" in one for one in archive.asked)


@pytest.mark.parametrize("kind", [float, str, lambda number: f"{number}.0"])
def test_a_number_speaks_in_any_notation(
    tmp_path: Path, connect: Callable[[DicomWeb], None], kind: Callable[[Any], object]
) -> None:
    archive = DicomWeb(slices(4))
    archive.value = lambda vr, value: {"vr": vr, "Value": [kind(value) if vr == "IS" else value]}
    archive.cap, archive.heeds_offset, archive.sends_all, archive.warns = 3, False, False, "never"
    connect(archive)
    done = fetched(tmp_path)
    assert (done.fetched, done.refused) == (3, {"not-listed": 1})


@pytest.mark.parametrize("states", [lambda number: number - 1, lambda number: 0, lambda number: None])
def test_a_number_that_is_too_small_or_absent_loses_nothing(
    tmp_path: Path, connect: Callable[[DicomWeb], None], states: Callable[[int], int | None]
) -> None:
    archive = DicomWeb([*studies(3), *slices(4, patient="Q")])
    archive.states = states
    connect(archive)
    done = fetched(tmp_path)
    assert (done.fetched, done.refused) == (7, {})
    assert (fetched(tmp_path).already, fetched(tmp_path).fetched) == (7, 0)


def test_a_number_that_is_too_large_counts_as_a_loss(tmp_path: Path, connect: Callable[[DicomWeb], None]) -> None:
    archive = DicomWeb(slices(4))
    archive.states = lambda number: number + 2
    connect(archive)
    done = fetched(tmp_path)
    assert done.fetched == 4 and done.refused == {"not-listed": 4}, (
        "two series and two instances: the larger, beside two"
    )


@st.composite
def archives(draw: st.DrawFn) -> DicomWeb:
    held: list[Dataset] = []
    for study in range(draw(st.integers(1, 4))):
        for name in range(draw(st.integers(1, 3))):
            held += slices(draw(st.integers(1, 4)), patient=f"P{study}", name=name, shape=(2, 2))
    archive = DicomWeb(held)
    archive.cap = draw(st.integers(1, 5))
    archive.heeds_offset = draw(st.booleans())
    archive.sends_all = draw(st.booleans())
    right, absent, none, large = (lambda n: n), (lambda n: None), (lambda n: 0), (lambda n: n + 2)
    archive.states = draw(st.sampled_from([right, absent, none, large]))
    told = archive.heeds_offset or (
        archive.states is right and len({one.StudyInstanceUID for one in held}) <= archive.cap
    )
    archive.warns = draw(st.sampled_from(["truly", "with-number", "always", *(["never"] if told else [])]))
    archive.shuffles = draw(st.none() | st.integers(0, 99).map(random.Random))
    uids = [one[f"{level}InstanceUID"].value for one in held for level in ("Study", "Series", "SOP")]
    archive.nameless = frozenset(map(str, draw(st.lists(st.sampled_from(uids), max_size=2))))
    return archive


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(archives())
def test_an_instance_is_fetched_or_here_or_listed_as_lost(
    connect: Callable[[DicomWeb], None], archive: DicomWeb
) -> None:
    root = Path(tempfile.mkdtemp())
    connect(archive)
    try:
        honest = archive.heeds_offset and archive.shuffles is None
        honest = honest and (archive.warns != "always" or (archive.states(5) == 5 and not archive.nameless))
        for _ in range(2):
            try:
                done = fetched(root)
            except CohortError as error:
                assert not honest or archive.nameless, error  # a study without its UID cannot be asked for
                break
            here, lost = done.fetched + done.already, sum(int(line["instances lost"]) for line in lines(root))
            told = archive.states(5) in (5, 7)
            assert here + lost >= (len(archive.held) if told else min(len(archive.held), here + 1)), (done, lines(root))
            if honest and not archive.nameless and archive.states(5) != 7:
                assert here == len(archive.held) and not lost
        archive.cap, archive.shuffles, archive.warns, archive.nameless = 500, None, "truly", frozenset()
        archive.heeds_offset, archive.states = True, lambda number: number
        healed = fetched(root)
        assert healed.already + healed.fetched == len(archive.held) and not healed.refused
    finally:
        shutil.rmtree(root)


class _Series:
    """Lists and numbers of one study, worked by hand."""

    def __init__(self, *numbers: int | None, nameless: int = 0, cut: CutShortError | None = None) -> None:
        named = [Series(STUDY, f"1.{n}", "CT", number) for n, number in enumerate(numbers)]
        self.listing = Listing(named, [Series(STUDY, "", "CT", None)] * nameless, cut)
        self.numbers = dict(enumerate(numbers))

    def lacking(self, series: int | None, instances: int | None) -> int:
        study = Study(STUDY, frozenset(), series, instances)
        return ListedStudy(study, self.listing, [], {str(n): one for n, one in self.numbers.items()}).lacking()


@pytest.mark.parametrize(
    ("listed", "series", "instances", "lacking"),
    [
        (_Series(2, 3), 2, 5, 0),
        (_Series(2, 3), None, None, 0),
        (_Series(2, 3), 3, 9, 4),
        (_Series(2, 3), 4, None, 2),
        (_Series(2, 3), 4, 6, 2),
        (_Series(2, None), 3, 9, 1),
        (_Series(2, None), 2, 9, 0),
        (_Series(2, 3), 1, 4, 0),
        (_Series(2, 3), 2, 6, 1),
        (_Series(), 0, 0, 0),
        (_Series(), None, 4, 4),
        (_Series(2, nameless=1), 2, None, 0),
        (_Series(2, 3, cut=CutShortError()), None, None, 1),
        (_Series(2, 3, cut=CutShortError(missing=6)), None, None, 6),
        (_Series(2, 3, cut=CutShortError()), 2, None, 0),
        (_Series(2, 3, cut=CutShortError()), None, 5, 0),
        (_Series(2, 3, cut=CutShortError()), None, 4, 1),
        (_Series(2, 3, cut=CutShortError()), 1, 5, 1),
        (_Series(2, 3, cut=CutShortError()), None, 9, 4),
    ],
)
def test_what_a_study_lacks_by_its_own_numbers(
    listed: _Series, series: int | None, instances: int | None, lacking: int
) -> None:
    assert listed.lacking(series, instances) == lacking


@pytest.fixture
def errand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Errand]]:
    monkeypatch.setattr(errands, "deidentify", lambda sent, key: b"file")
    key = load_key(tmp_path / "key")
    with closing(Store(tmp_path / "images", key)) as store:

        def made(listed: Sequence[Dataset], room: int | None) -> Errand:
            own = Series(listed[0].StudyInstanceUID, listed[0].SeriesInstanceUID, "CT", None)
            return Errand(own, [Instance(one.SOPInstanceUID, "") for one in listed], store=store, key=key, room=room)

        yield made


def test_an_entire_series_takes_what_its_list_lacks_and_no_more(errand: Callable[..., Errand]) -> None:
    held = slices(5)
    way = errand(held[:2], 2)
    way.entire = True
    assert [way.receive(one) for one in held] == ["stored"] * 4 + ["not-asked"]
    assert (way.stored, len(way.unlisted), way.unlisted_here, way.uninvited) == (4, 2, 0, 1)
    assert [way.receive(one) for one in held[:4]] == ["stored"] * 4 and way.stored == 4, "each once"
    second = errand(held[:2], 2)
    second.entire = True
    assert [second.receive(one) for one in held[:4]] == ["stored"] * 4, "what is here is not written again"
    assert (second.stored, second.unlisted_here, second.uninvited) == (0, 2, 0)
    assert errand(held[:2], 0).receive(held[4]) == "not-asked"


def test_a_push_that_nobody_asked_for_is_not_taken(errand: Callable[..., Errand]) -> None:
    held = slices(4)
    stranger, other_series, nameless = image(name="x", patient="P1"), slices(1, name="t")[0], slices(1, name="u")[0]
    other_study = slices(5)[4]
    other_study.StudyInstanceUID = uid("another")
    nameless.SeriesInstanceUID, nameless.SOPInstanceUID = held[0].SeriesInstanceUID, ""
    way = errand(held[:1], None)
    way.entire = True
    for one in (stranger, other_series, other_study, nameless):
        assert way.receive(one) == "not-asked"
    assert way.receive(held[1]) == "stored"
    way.entire = False
    assert way.receive(held[2]) == "not-asked", "the request for the entire series has ended"
    assert way.receive(held[0]) == "stored", "an instance of the list is always taken"
    assert (way.stored, way.uninvited) == (2, 5)
