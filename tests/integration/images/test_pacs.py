"""``fedward site index --pacs`` against a real archive, by each of the three ways."""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ComprehensiveSRStorage, RLELossless, generate_uid

from fedward.dataset.manifest import read_manifest
from fedward.dicom.synthetic.hospital import HOSPITALS, write_cohort
from fedward.indexing.site_key import load_key
from tests.conftest import OPEN_COHORT_TOML, OPEN_SITE_TOML
from tests.support.federation.orthanc import (
    CLOSED_PORT,
    DICOM_PORT,
    HTTP_PORT,
    OWN_PORT,
    PASSWORD,
    USER,
    Orthanc,
    orthanc,
)

pytestmark = pytest.mark.integration

PLANTED = "Wilhelmina-Planted"
WAYS = {
    "c-get": f'protocol = "c-get"\nhost = "127.0.0.1"\nport = {DICOM_PORT}\nae_title = "ORTHANC"\n',
    "c-move": f'protocol = "c-move"\nhost = "127.0.0.1"\nport = {DICOM_PORT}\nae_title = "ORTHANC"\n'
    f"own_port = {OWN_PORT}\n",
    "dicomweb": f'protocol = "dicomweb"\nurl = "http://127.0.0.1:{HTTP_PORT}/dicom-web"\ncredentials = "reader.txt"\n',
}


@dataclass(frozen=True)
class Filled:
    """An archive and what was put into it: 30 studies of an image each, one without a picture, one of another year."""

    archive: Orthanc
    images: dict[str, Dataset]
    labels: str
    identifiers: frozenset[bytes]


def _made(folder: Path) -> tuple[list[Dataset], str]:
    """Fifteen compressed and fifteen plain images, each its own study, with names in every corner of their headers."""
    small = [replace(one, images=15, faults=()) for one in HOSPITALS[:2]]
    write_cohort(folder, label="lesion", masks=False, hospitals=small)
    made = []
    for number, path in enumerate(sorted(folder.rglob("*.dcm"))):
        d = dcmread(path)
        d.PatientName = f"{PLANTED}^Number{number}"
        d.InstitutionAddress = d.ImageComments = f"of {PLANTED}"
        if number % 3:
            d.StudyDescription = f"CHEST {PLANTED}"
        deep = Dataset()
        deep.PatientName = PLANTED
        d.RequestAttributesSequence = [deep]
        d.private_block(0x0009, f"{PLANTED} Inc", create=True).add_new(1, "LO", PLANTED)
        made.append(d)
    head, *_ = tables = [path.read_text().splitlines() for path in sorted(folder.rglob("labels.csv"))]
    table = "\n".join([head[0], *(line for one in tables for line in one[1:])]) + "\n"
    return made, table


def _report() -> Dataset:
    """A study in which there is no image, only a report."""
    d = Dataset()
    d.PatientID, d.PatientName, d.StudyDate, d.Modality = "REPORT1", PLANTED, "20200101", "SR"
    d.SOPClassUID, d.SOPInstanceUID = ComprehensiveSRStorage, generate_uid()
    d.StudyInstanceUID, d.SeriesInstanceUID = generate_uid(), generate_uid()
    d.ensure_file_meta()
    d.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    return d


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    folder = tmp_path_factory.mktemp("pacs")
    with orthanc(folder / "orthanc") as archive:
        made, labels = _made(folder / "made")
        other = dcmread(next((folder / "made").rglob("*.dcm")))
        other.StudyDate = "20190101"
        other.StudyInstanceUID, other.SeriesInstanceUID, other.SOPInstanceUID = (generate_uid() for _ in range(3))
        archive.store([*made, other, _report()])
        names = {str(d[k].value) for d in made for k in ("PatientID", "PatientName", "AccessionNumber")}
        uids = {str(d[f"{k}InstanceUID"].value) for d in made for k in ("Study", "Series", "SOP")}
        secret = frozenset(one.encode() for one in names | uids | {PLANTED, PLANTED.split("-")[0]})
        yield Filled(archive, {str(d.SOPInstanceUID): d for d in made}, labels, secret)


def site(folder: Path, way: str, labels: str, **changed: Any) -> Path:
    """A ``site.toml`` whose one cohort comes from the archive."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labels.csv").write_text(labels)
    (folder / "reader.txt").write_text(f"{USER}:{PASSWORD}\n")
    (folder / "reader.txt").chmod(0o600)
    pacs = WAYS[way] + 'timeout_s = 10.0\nquery = { StudyDate = "20200101-20201231", StudyDescription = "*" }\n'
    for name, value in changed.items():
        shown = (
            f"{{ {', '.join(f'{k} = {json.dumps(v)}' for k, v in value.items())} }}"
            if name == "query"
            else json.dumps(value)
        )
        pacs = re.sub(rf"(?m)^{name} = .*\n", "", pacs) + f"{name} = {shown}\n"
    (folder / "site.toml").write_text(
        f"""site = "north-clinic"
key = "site.key"
{OPEN_SITE_TOML}
[cohorts.chest]
images = "images"
index = "index"
labels = "labels.csv"
modalities = ["CR", "DX"]
max_quarantined_fraction = 0.1
validation_fraction = 0.3
{OPEN_COHORT_TOML}
[cohorts.chest.pacs]
{pacs}"""
    )
    return folder / "site.toml"


def index(config: Path) -> list[str | Path]:
    words = ["site", "index", config, "--pacs", "--workers", "1", "--format", "json"]
    return [Path(sys.executable).with_name("fedward"), *words]


def files(config: Path) -> list[Path]:
    return sorted((config.parent / "images").rglob("*.dcm"))


def unfinished(config: Path) -> list[Path]:
    return list((config.parent / "images").rglob("*.part"))


def holds_none(folder: Path, identifiers: frozenset[bytes]) -> None:
    """Nothing on the disk, in a name or in a byte, is one of the identifiers; the hospital's own table is left out."""
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() and path.name != "labels.csv" else b""
        assert not [one for one in identifiers if one in content or one in str(path.relative_to(folder)).encode()], path


@pytest.mark.parametrize("way", WAYS)
def test_what_the_archive_has_arrives_once_and_names_nobody(filled: Filled, tmp_path: Path, way: str) -> None:
    config = site(tmp_path, way, filled.labels)
    done = filled.archive.run(index(config))
    assert done.returncode == 0, done.stderr
    archive = json.loads(done.stdout)[0]["archive"]
    assert archive["found"] == archive["fetched"] == len(filled.images) == 30
    assert archive["studies"] == len(filled.images) + 1 and archive["refused"] == {"empty-study": 1}

    key = load_key(tmp_path / "site.key")
    arrived = {dcmread(path).SOPInstanceUID: path for path in files(config)}
    assert len(arrived) == len(filled.images)
    for uid, sent in filled.images.items():
        got = dcmread(arrived[key.uid("image", uid)])
        assert np.array_equal(got.pixel_array, sent.pixel_array)
        assert got.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
        assert got.PatientID == key.uid("patient", sent.PatientID)
    assert {d.file_meta.TransferSyntaxUID for d in filled.images.values()} > {RLELossless}
    holds_none(tmp_path, filled.identifiers)

    manifest = read_manifest(tmp_path / "index")
    assert {row.image for row in manifest.rows} == {key.pseudonym("image", uid) for uid in filled.images}
    assert all(row.labels["lesion"] in ("0", "1") for row in manifest.rows), "the table names the archive's own ids"


def test_a_run_that_was_killed_goes_on_where_it_was(filled: Filled, tmp_path: Path) -> None:
    config = site(tmp_path, "c-get", filled.labels)
    kills = 0
    for wanted in (3, 10):
        process = filled.archive.begin(index(config))
        while len(files(config)) < wanted and process.poll() is None:
            time.sleep(0.005)
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert kills == 2, "both runs were killed in the middle"
    there = {path: path.stat().st_mtime_ns for path in files(config)}
    assert 10 <= len(there) < len(filled.images)
    assert all(dcmread(path).pixel_array.size for path in there), "no file was cut short"
    archive = json.loads(filled.archive.run(index(config)).stdout)[0]["archive"]
    assert archive["already"] == len(there) and archive["fetched"] == len(filled.images) - len(there)
    assert len(files(config)) == len(filled.images) and not unfinished(config)
    assert all(path.stat().st_mtime_ns == then for path, then in there.items()), "nothing was fetched twice"


_ECHO = """
import json, sys
from fedward.indexing.pacs import echo
from fedward.errors import CohortError
from fedward.settings import Pacs
for content in json.load(open(sys.argv[1])):
    try:
        echo(Pacs(**content, query={"StudyDate": "20200101"}, timeout_s=5))
        print("here")
    except CohortError as error:
        print(error)
"""


def test_the_doctor_learns_what_is_wrong(filled: Filled, tmp_path: Path) -> None:
    password, wrong = tmp_path / "right", tmp_path / "wrong"
    for path, word in ((password, PASSWORD), (wrong, "guessed")):
        path.write_text(f"{USER}:{word}")
        path.chmod(0o600)
    dimse = {"protocol": "c-get", "host": "127.0.0.1", "port": DICOM_PORT, "ae_title": "ORTHANC"}
    web = {"protocol": "dicomweb", "url": f"http://127.0.0.1:{HTTP_PORT}/dicom-web"}
    expected: list[tuple[dict[str, Any], str]] = [
        (dimse, "here"),
        ({**dimse, "protocol": "c-move", "own_port": OWN_PORT}, "here"),
        ({**web, "credentials": str(password)}, "here"),
        ({**dimse, "port": CLOSED_PORT}, "nothing listens there"),
        ({**dimse, "host": "archive.invalid"}, "archive's host has no address"),
        ({**dimse, "ae_title": "OTHER"}, "archive does not go by this AE title: 'OTHER'"),
        ({**dimse, "calling_ae_title": "STRANGER"}, "our AE title"),
        ({**dimse, "port": HTTP_PORT}, "hung up on us"),
        (web, "archive does not let us in: 'HTTP 401'"),
        ({**web, "credentials": str(wrong)}, "archive does not let us in: 'HTTP 401'"),
        ({**web, "url": f"http://127.0.0.1:{CLOSED_PORT}/dicom-web"}, "archive cannot be reached"),
    ]
    (tmp_path / "cases.json").write_text(json.dumps([content for content, _ in expected]))
    done = filled.archive.run([sys.executable, "-c", _ECHO, tmp_path / "cases.json"])
    said = done.stdout.splitlines()
    assert len(said) == len(expected), done.stderr
    for line, (content, words) in zip(said, expected, strict=True):
        assert words in line, (content, line)
    assert not any(PASSWORD in line or "guessed" in line for line in said)


_FETCH = """
import sys
from pathlib import Path
from fedward.indexing.pacs.fetch import fetch_cohort
from fedward.errors import CohortError
from fedward.settings import read_site
for path in sys.argv[1:]:
    try:
        print(fetch_cohort(read_site(Path(path)), "chest"))
    except CohortError as error:
        print(error)
"""


def test_what_cannot_be_found_or_sent_is_an_error_and_no_empty_cohort(filled: Filled, tmp_path: Path) -> None:
    someone = next(iter(filled.images.values())).PatientID
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("c-get", {"port": CLOSED_PORT}, "nothing listens there"),
        ("c-get", {"calling_ae_title": "STRANGER"}, "archive hung up"),
        ("c-get", {"query": {"StudyDate": "18950101"}}, "archive has no study with StudyDate = 18950101"),
        ("dicomweb", {"query": {"PatientID": "NOBODY-17"}}, "archive has no study with PatientID = (not shown)"),
        ("c-move", {"own_port": CLOSED_PORT, "query": {"PatientID": someone}}, "1 of 1 instances could not be fetched"),
        ("c-move", {"own_port": DICOM_PORT}, "cannot listen for what the archive sends"),
    ]
    configs = [site(tmp_path / str(n), way, filled.labels, **changed) for n, (way, changed, _) in enumerate(cases)]
    done = filled.archive.run([sys.executable, "-c", _FETCH, *configs])
    said = done.stdout.splitlines()
    assert len(said) == len(cases), done.stderr
    for line, (way, changed, words) in zip(said, cases, strict=True):
        assert words in line, (way, changed, line)
    assert not any(files(config) for config in configs)
    listed = (tmp_path / "4" / "index" / "archive-refused.csv").read_text()
    assert listed.count("archive-refused") + listed.count("not-sent") == 1
    for config in configs:
        holds_none(config.parent / "index", filled.identifiers)


def test_an_archive_that_stops_in_the_middle_loses_nothing(filled: Filled, tmp_path: Path) -> None:
    config = site(tmp_path, "c-get", filled.labels)
    process = filled.archive.begin(index(config))
    while len(files(config)) < 3 and process.poll() is None:
        time.sleep(0.005)
    filled.archive.stop()
    try:
        _, said = process.communicate(timeout=60)
    finally:
        filled.archive.start()
    assert process.returncode == 1 and (b"run the same" in said or b"start the archive" in said), said
    there = {path: path.stat().st_mtime_ns for path in files(config)}
    assert 3 <= len(there) < len(filled.images) and not (tmp_path / "index" / "manifest.jsonl").exists()
    archive = json.loads(filled.archive.run(index(config)).stdout)[0]["archive"]
    assert (archive["already"], archive["fetched"]) == (len(there), len(filled.images) - len(there))
    assert all(path.stat().st_mtime_ns == then for path, then in there.items())
