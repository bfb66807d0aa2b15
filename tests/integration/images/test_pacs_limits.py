"""``fedward site index --pacs`` against a real archive that limits the answers to a question."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset

from tests.integration.images.test_pacs import WAYS, files, index, site
from tests.support.federation.orthanc import Orthanc, orthanc
from tests.support.images.dicom_files import image, uid

pytestmark = pytest.mark.integration

LIMIT = 2
_LABELS = "PatientID,lesion\nP0,1\nBIG,0\n"


def _held() -> list[Dataset]:
    """Five studies of an image each, and one of five images in one series."""
    big = [
        image(name=("big", n), patient="BIG", SeriesInstanceUID=uid("BIG", "one"), InstanceNumber=n) for n in range(5)
    ]
    return [*(image(name=n, patient=f"P{n}") for n in range(5)), *big]


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    folder = tmp_path_factory.mktemp("limits")
    with orthanc(folder / "limited", LimitFindResults=LIMIT, LimitFindInstances=LIMIT) as archive:
        archive.store(_held())
        yield archive


@pytest.mark.parametrize("way", ["c-get", "c-move"])
def test_a_list_of_studies_past_its_limit_ends_the_run(limited: Orthanc, tmp_path: Path, way: str) -> None:
    config = site(tmp_path, way, _LABELS)
    done = limited.run(index(config))
    assert done.returncode == 1 and not files(config)
    said = done.stderr.strip()
    assert f"cut its list of studies short after {LIMIT}, " in said and "'0xfe00'; narrow query" in said, said
    assert said.count("\n") == 0


@pytest.mark.parametrize("way", WAYS)
def test_instances_past_the_limit_come_with_their_series(limited: Orthanc, tmp_path: Path, way: str) -> None:
    config = site(tmp_path, way, _LABELS, query={"PatientID": "BIG"})
    for already, fetched in ((0, 5), (5, 0)):
        done = limited.run(index(config))
        assert done.returncode == 0, done.stderr
        archive = json.loads(done.stdout)[0]["archive"]
        assert (archive["found"], archive["already"], archive["fetched"], archive["refused"]) == (
            5,
            already,
            fetched,
            {},
        )
