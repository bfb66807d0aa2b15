"""Fetching from an archive that does everything wrong in turn; it stands in for the network and for nothing else."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from fedward.dataset.manifest import read_manifest
from fedward.errors import CohortError, SettingsError, StudyError
from fedward.indexing.index import index_cohort
from fedward.indexing.pacs import fetch
from fedward.indexing.pacs import series_transfer as errands
from fedward.indexing.pacs.archive import Instance, Receive, Series, SilentArchiveError, Study
from fedward.indexing.pacs.fetch import REFUSED, fetch_cohort
from fedward.indexing.pacs.reasons import REASONS
from fedward.indexing.pacs.store import Store
from fedward.indexing.site_key import load_key
from fedward.indexing.tables.account import read_account
from fedward.settings import SitePolicy
from tests.support.images.dicom_files import image, segmentation, series, site

PACS = {"protocol": "c-get", "host": "127.0.0.1", "port": 104, "ae_title": "ARCHIVE", "query": {"StudyDate": "2020-"}}
Send = Callable[[Dataset, Receive], object]


class Shelf:
    """An archive in memory. ``send`` is how it hands over an instance; ``asked`` counts errands."""

    def __init__(self, held: Sequence[Dataset]) -> None:
        self.held = list(held)
        self.answered = frozenset({"StudyDate", "StudyInstanceUID"})
        self.send: Send = lambda one, receive: receive(one)
        self.asked: list[bool] = []
        self.silent = 0
        self.counted = True

    def studies(self) -> list[Study]:
        if self.silent > 0:
            self.silent -= 1
            raise SilentArchiveError("archive hung up")
        return [Study(uid, self.answered) for uid in dict.fromkeys(one.StudyInstanceUID for one in self.held)]

    def series(self, study: str) -> list[Series]:
        own = [one for one in self.held if one.StudyInstanceUID == study and "SeriesInstanceUID" in one]
        uids = dict.fromkeys((one.SeriesInstanceUID, one.get("Modality", "")) for one in own)
        count = {uid: sum(one.SeriesInstanceUID == uid for one in own) for uid, _ in uids}
        return [Series(study, uid, modality, count[uid] if self.counted else None) for uid, modality in uids]

    def instances(self, series: Series) -> list[Instance]:
        return [Instance(one.SOPInstanceUID, one.SOPClassUID) for one in self._of(series)]

    def retrieve(self, series: Series, wanted: Sequence[Instance], receive: Receive, *, alone: bool) -> None:
        self.asked.append(alone)
        names = {one.uid for one in wanted}
        for one in self._of(series):
            if not alone or one.SOPInstanceUID in names:
                self.send(one, receive)

    def close(self) -> None:
        return

    def _of(self, series: Series) -> list[Dataset]:
        return [one for one in self.held if one.get("SeriesInstanceUID") == series.uid]


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    made = Shelf([image(name=n, patient=f"P{n}") for n in range(4)])
    monkeypatch.setattr(fetch, "open_archive", lambda pacs: made)
    monkeypatch.setattr(fetch, "PAUSES_S", (0.0, 0.0))
    return made


def policy(root: Path, **cohort: Any) -> SitePolicy:
    return site(root, **{"pacs": PACS, "modalities": ("CR",), "max_quarantined_fraction": 0.5, **cohort})


def listed(root: Path) -> list[str]:
    with (root / "index" / REFUSED).open(newline="") as file:
        return [line["reason"] for line in csv.DictReader(file)]


def files(root: Path) -> list[Path]:
    return sorted((root / "images").rglob("*.dcm"))


def test_everything_comes_once_and_the_second_run_asks_for_nothing(tmp_path: Path, shelf: Shelf) -> None:
    steps: list[tuple[int, int]] = []
    first = fetch_cohort(policy(tmp_path), "chest", progress=lambda done, total: steps.append((done, total)))
    assert (first.studies, first.series, first.found, first.fetched, first.already) == (4, 4, 4, 4, 0)
    assert steps[0] == (0, 4) and steps[-1] == (4, 4) and first.refused == {}
    shelf.asked.clear()
    again = fetch_cohort(policy(tmp_path), "chest")
    assert (again.found, again.fetched, again.already) == (4, 0, 4) and not shelf.asked
    files(tmp_path)[0].unlink()
    assert fetch_cohort(policy(tmp_path), "chest").fetched == 1
    shelf.held.append(image(name="new", patient="P9"))
    assert fetch_cohort(policy(tmp_path), "chest").fetched == 1
    shelf.held = shelf.held[1:]
    assert fetch_cohort(policy(tmp_path), "chest").no_longer_found == 1


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("replaced", [1, 2, 3])
def test_an_image_taken_again_leaves_the_number_as_it_was(
    tmp_path: Path, shelf: Shelf, counted: bool, replaced: int
) -> None:
    shelf.held, shelf.counted = series(3), counted
    given = policy(tmp_path, modalities=("CT",))
    assert fetch_cohort(given, "chest").fetched == 3
    shelf.held = [*shelf.held[replaced:], *series(6)[-replaced:]]
    again = fetch_cohort(given, "chest")
    assert (again.found, again.fetched, again.already, again.no_longer_found) == (3, replaced, 3 - replaced, replaced)
    third = fetch_cohort(given, "chest")
    assert (third.fetched, third.already, third.no_longer_found) == (0, 3, replaced)
    shelf.held = shelf.held[1:]
    assert fetch_cohort(given, "chest").no_longer_found == replaced + 1


def test_a_label_table_by_the_archives_own_names_matches_what_was_fetched(tmp_path: Path, shelf: Shelf) -> None:
    folder = tmp_path / "exported"
    folder.mkdir()
    for one in shelf.held:
        one.save_as(folder / f"{one.PatientID}.dcm", enforce_file_format=True)
    lines = ["PatientID,tb", *(f"{one.PatientID},{n}" for n, one in enumerate(shelf.held))]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    given = policy(tmp_path, labels=tmp_path / "labels.csv")
    fetch_cohort(given, "chest")
    fetched = index_cohort(given, "chest", workers=0)
    copied = policy(tmp_path, labels=tmp_path / "labels.csv", images=folder, index=tmp_path / "other", pacs=None)
    exported = index_cohort(copied, "chest", workers=0)
    names = [
        [(row.image, row.patient, row.study, row.split, row.labels) for row in m.rows] for m in (fetched, exported)
    ]
    assert names[0] == names[1], "by way of the archive or of a folder, an image and its patient go by the same names"
    assert read_manifest(tmp_path / "index").rows[0].labels


def test_an_id_without_its_leading_zeros_is_told_apart_in_what_was_fetched_too(tmp_path: Path, shelf: Shelf) -> None:
    patients = ("0012", "12", "0345", "77")
    shelf.held = [image(name=patient, patient=patient) for patient in patients]
    (tmp_path / "labels.csv").write_text("PatientID,tb\n12,1\n345,0\n77,1\n")
    given = policy(tmp_path, labels=tmp_path / "labels.csv")
    fetch_cohort(given, "chest")
    rows = index_cohort(given, "chest", workers=0).rows
    assert [row.labels for row in rows if row.labels] == [{"tb": "1"}], "77 alone"
    account = read_account(tmp_path / "index")
    assert account is not None
    assert (account.matched, account.unmatched, account.respelled) == (1, 1, 1)
    assert [(one.reason, one.first_lines) for one in account.refused] == [("ambiguous-id", (2,))]


def test_what_is_lost_on_the_way_is_asked_for_again_by_name(tmp_path: Path, shelf: Shelf) -> None:
    shelf.held = series(4)
    lost: set[str] = {one.SOPInstanceUID for one in shelf.held[:2]}

    def lossy(one: Dataset, receive: Receive) -> None:
        if one.SOPInstanceUID in lost:
            lost.discard(one.SOPInstanceUID)
        else:
            receive(one)

    shelf.send, shelf.silent = lossy, 2
    done = fetch_cohort(policy(tmp_path, modalities=("CT",)), "chest")
    assert done.fetched == 4 and shelf.asked == [False, True]


def test_an_archive_that_stays_silent_ends_the_run_with_an_error(tmp_path: Path, shelf: Shelf) -> None:
    shelf.silent = 3
    with pytest.raises(SilentArchiveError):
        fetch_cohort(policy(tmp_path), "chest")

    def silent(one: Dataset, receive: Receive) -> None:
        if one.PatientID == "P2":
            raise SilentArchiveError("archive hung up")
        receive(one)

    shelf.silent, shelf.send = 0, silent
    with pytest.raises(SilentArchiveError):
        fetch_cohort(policy(tmp_path), "chest")
    there = files(tmp_path)
    assert 0 < len(there) < 4
    shelf.send = lambda one, receive: receive(one)
    done = fetch_cohort(policy(tmp_path), "chest")
    assert (done.already, done.fetched) == (len(there), 4 - len(there))


def test_one_bad_study_is_listed_and_the_rest_go_on(tmp_path: Path, shelf: Shelf) -> None:
    empty = Dataset()
    empty.StudyInstanceUID = "1.2.3"
    nameless, private = image(name="n", patient="Q1"), image(name="p", patient="Q2")
    nameless.PatientID = ""
    private.SOPClassUID = "1.2.3.4.5"
    shelf.held += [empty, nameless, private]

    def moody(one: Dataset, receive: Receive) -> None:
        if one.PatientID == "P1":
            raise StudyError("archive-refused", "status 0xa702")
        if one.PatientID != "P3":
            receive(one)

    shelf.send = moody
    done = fetch_cohort(policy(tmp_path, max_quarantined_fraction=0.9), "chest")
    reasons = {"empty-study": 1, "archive-refused": 1, "not-sent": 1, "no-patient-id": 1, "unknown-class": 1}
    assert done.refused == reasons and set(listed(tmp_path)) == set(reasons) <= set(REASONS)
    assert (done.found, done.fetched) == (6, 2) and len(files(tmp_path)) == 2
    told = (tmp_path / "index" / REFUSED).read_text()
    assert not [
        one for one in shelf.held if one.StudyInstanceUID in told or one.get("PatientID", "") in told.split(",")[1:0]
    ]
    with pytest.raises(CohortError, match="4 of 6 instances could not be fetched, more than the site tolerates"):
        fetch_cohort(policy(tmp_path), "chest")


def test_a_study_of_which_the_archive_will_not_speak_is_listed_and_the_rest_go_on(
    tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    series, instances = shelf.series, shelf.instances
    shy, shyer = (one.StudyInstanceUID for one in shelf.held[:2])

    def refusing(answer: Any, uid: str) -> Any:
        if uid in (shy, shyer):
            raise StudyError("archive-refused", "HTTP 500")
        return answer

    monkeypatch.setattr(shelf, "series", lambda study: refusing(series(study), study if study == shy else ""))
    monkeypatch.setattr(shelf, "instances", lambda one: refusing(instances(one), one.study))
    done = fetch_cohort(policy(tmp_path), "chest")
    assert done.fetched == 2 and done.refused == {"archive-refused": 2} and done.found == 4


def test_a_refused_list_of_instances_counts_all_that_its_series_states(
    tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Series) -> list[Instance]:
        raise StudyError("archive-refused", "HTTP 500")

    shelf.held = series(4)
    monkeypatch.setattr(shelf, "instances", refuse)
    given = policy(tmp_path, modalities=("CT",), max_quarantined_fraction=1.0)
    with pytest.raises(CohortError, match=r"none of 4 instances is here; see archive-refused\.csv in the index folder"):
        fetch_cohort(given, "chest")
    assert listed(tmp_path) == ["archive-refused"]
    with pytest.raises(CohortError, match="4 of 4 instances could not be fetched"):
        fetch_cohort(policy(tmp_path, modalities=("CT",), max_quarantined_fraction=0.9), "chest")


def test_what_nobody_asked_for_is_not_written(tmp_path: Path, shelf: Shelf) -> None:
    stranger, elsewhere = image(name="x", patient="STRANGER"), image(name=0, patient="P0")
    elsewhere.StudyInstanceUID = "1.2.3"
    verdicts: list[object] = []

    def generous(one: Dataset, receive: Receive) -> None:
        verdicts.extend([receive(stranger), receive(elsewhere), receive(one), receive(one)])

    shelf.send, shelf.held = generous, shelf.held[:1]
    done = fetch_cohort(policy(tmp_path), "chest")
    assert verdicts == ["not-asked", "not-asked", "stored", "stored"]
    assert done.fetched == 1 and done.refused == {"not-asked": 2} and len(files(tmp_path)) == 1


def test_where_de_identification_fails_nothing_is_written(
    tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(dataset: Dataset, rules: object, **more: object) -> None:
        raise RuntimeError(f"about {dataset.PatientID}")

    monkeypatch.setattr("fedward.indexing.pacs.deidentify.anonymize_dataset", failing)
    with pytest.raises(CohortError, match="4 of 4 instances"):
        fetch_cohort(policy(tmp_path), "chest")
    assert not [path for path in (tmp_path / "images").rglob("*") if path.is_file() and path.name != ".archive.jsonl"]
    assert listed(tmp_path) == ["not-de-identified"] * 4


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_full_disk_or_a_wish_to_stop_ends_the_run(
    tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    def full(*given: object) -> None:
        raise fault

    monkeypatch.setattr(Store, "write", full)
    with pytest.raises((CohortError, KeyboardInterrupt)):
        fetch_cohort(policy(tmp_path), "chest")
    assert not files(tmp_path)


def test_an_error_of_ours_in_the_middle_is_not_swallowed(
    tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errands, "deidentify", lambda sent, key: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fetch_cohort(policy(tmp_path), "chest")
    assert not files(tmp_path)


def test_modalities_choose_series_and_an_absent_one_drops_none(tmp_path: Path, shelf: Shelf) -> None:
    untold = image(name="u", patient="P7")
    del untold.Modality
    report = image(name="r", patient="P8", Modality="SR")
    mask = segmentation(shelf.held[:1], {"Lung": np.eye(16, 12, dtype=bool)})
    shelf.held += [untold, report, mask]
    assert fetch_cohort(policy(tmp_path / "a"), "chest").fetched == 5
    assert fetch_cohort(policy(tmp_path / "b", modalities=()), "chest").fetched == 5
    both = fetch_cohort(policy(tmp_path / "c", masks=tmp_path / "c" / "images"), "chest")
    assert both.fetched == 6 and load_key(tmp_path / "c" / "key")
    kinds = {dcmread(path).get("Modality") for path in files(tmp_path / "c")}
    assert kinds == {"CR", "SEG", None}


def test_no_match_is_an_error_that_says_what_was_asked(tmp_path: Path, shelf: Shelf) -> None:
    shelf.held = []
    asked = {**PACS, "query": {"StudyDate": "20200101", "PatientName": "Doe*"}}
    with pytest.raises(CohortError, match="archive has no study with StudyDate = 20200101, PatientName") as error:
        fetch_cohort(policy(tmp_path, pacs=asked), "chest")
    assert "Doe" not in str(error.value)
    with pytest.raises(SettingsError, match="cohort names no archive"):
        fetch_cohort(policy(tmp_path, pacs=None), "chest")


def test_a_key_that_the_archive_passes_over_is_an_error(tmp_path: Path, shelf: Shelf) -> None:
    asked = {**PACS, "query": {"StudyDate": "20200101", "StudyDescription": "CHEST*"}}
    with pytest.raises(CohortError, match="archive does not search by this key: 'StudyDescription'"):
        fetch_cohort(policy(tmp_path, pacs=asked), "chest")
    everything = {**PACS, "query": {"StudyDate": "20200101", "StudyDescription": "*"}}
    assert fetch_cohort(policy(tmp_path, pacs=everything), "chest").fetched == 4
    assert not files(tmp_path / "nowhere")


@pytest.mark.parametrize("keyword", ["QueryRetrieveLevel", "NoSuchKey", "ProcedureCodeSequence", "Modality"])
def test_a_key_by_which_studies_cannot_be_found_is_refused(tmp_path: Path, keyword: str) -> None:
    with pytest.raises(SettingsError, match=keyword):
        fetch_cohort(policy(tmp_path, pacs={**PACS, "query": {keyword: "x"}}), "chest")


def test_no_series_of_the_cohorts_kind_is_an_error(tmp_path: Path, shelf: Shelf) -> None:
    with pytest.raises(CohortError, match="4 studies, and no series of the cohort's: 'MR'"):
        fetch_cohort(policy(tmp_path, modalities=("MR",)), "chest")
