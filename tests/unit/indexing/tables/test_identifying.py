"""Columns that identify people are not read, whatever else the table holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from dicomanonymizer.simpledicomanonymizer import initialize_actions
from pydicom.datadict import keyword_for_tag

from fedward.errors import CohortError
from fedward.indexing.index import index_cohort
from fedward.indexing.labels import read_labels
from fedward.indexing.pacs.profile import KEPT, STANDARD
from fedward.indexing.site_key import SiteKey
from fedward.indexing.tables.account import read_account
from fedward.indexing.tables.identifying import identifies_people
from fedward.indexing.tables.rows import kind_of
from tests.support.images.dicom_files import image, save, site

WORDS = [
    *("name", "Name", "Surname", "first name", "FirstName", "last_name", "Vorname", "Nachname", "NAME, VORNAME"),
    *("Patient's Name", "patient_name", "PatName", "pat. name", "Name of the patient", "Full Name", "PatientFirstName"),
    *(
        "Geburtsdatum",
        "geb.datum",
        "DOB",
        "Date of Birth",
        "birth date",
        "patient_dob",
        "BirthDate",
        "Prénom",
        "Straße",
    ),
    *("MRN", "mrn_no", "SSN", "Medical Record Number", "Address", "Home Address", "phone", "Phone No.", "e-mail"),
    *("E-Mail Address", "email", "Telefon", "Accession No", "Accession #", "ACCESSION NUMBER", "NHS number", "PLZ"),
]
LABELS = [
    *(
        "mobile",
        "contact",
        "operator",
        "acc",
        "birth",
        "tb",
        "pneumonia",
        "side",
        "grade",
        "disease_name",
        "birth weight",
        "View Position",
        "Modality",
        "Manufacturer",
    ),
    *("dose_mSv", "mass", "finding", "tumour number", "number", "no", "mailed", "address_bus", "telangiectasia", "sex"),
    *("Body Part Examined", "KVP", "patient", "age", "nominal", "hospital", "report", "split", "Finding Labels"),
]


@pytest.mark.parametrize("heading", WORDS)
def test_common_words(heading: str) -> None:
    assert identifies_people(heading)


@pytest.mark.parametrize("heading", LABELS)
def test_labels(heading: str) -> None:
    assert not identifies_people(heading)


def test_every_keyword_of_the_standards_profile_but_for_those_kept() -> None:
    kept = {one for keywords in KEPT.values() for one in keywords}
    tags = [group << 16 | element for group, element, *rest in initialize_actions(STANDARD) if not rest]
    keywords = {keyword_for_tag(tag) for tag in tags} - {""}
    assert len(keywords) > 500
    for keyword in keywords - kept:
        spaced = "".join(f" {sign}" if sign.isupper() else sign for sign in keyword).strip()
        for heading in (keyword, keyword.lower(), keyword.upper(), spaced.replace(" ", "_")):
            assert identifies_people(heading), heading
    assert not any(map(identifies_people, kept))


def test_no_cell_of_such_a_column_is_anywhere(tmp_path: Path) -> None:
    headings = ["PatientName", "Patient Birth Date", "accession_number", "Vorname", "Phone", "MRN"]
    for patient in ("P1", "P2", "P3"):
        save(image(name=patient, patient=patient), tmp_path / "images" / f"{patient}.dcm")
    lines = [",".join(["PatientID", *headings, "tb"])]
    for number, (patient, end) in enumerate(
        (("P1", "1"), ("P2", "0"), ("P2", "1"), ("P3", "0"), ("P3", "0,"), ("", "1"))
    ):
        lines.append(",".join([patient, *(f"SECRETUM{number}{n}" for n in range(6)), end]))
    lines.append(",".join(["P3", *["NA"] * 6, "0"]))
    (tmp_path / "labels.csv").write_text("\n".join([*lines, ""]))
    policy = site(tmp_path, labels=tmp_path / "labels.csv", max_quarantined_fraction=1.0)
    made = index_cohort(policy, "chest", workers=0)
    assert {row.paths[0]: row.labels for row in made.rows} == {
        "P1.dcm": {"tb": "1"},
        "P2.dcm": {},
        "P3.dcm": {"tb": "0"},
    }
    account = read_account(tmp_path / "index")
    assert account is not None and account.identifying_columns == tuple(headings)
    for path in (tmp_path / "index").rglob("*"):
        assert b"SECRETUM" not in path.read_bytes(), path.name


def test_a_table_of_such_columns_alone(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("PatientID,PatientName,MRN\nP1,SECRETUM,1\n")
    with pytest.raises(CohortError, match="has no label column; 2 not kept, because they identify people") as refusal:
        read_labels(tmp_path / "labels.csv", SiteKey(bytes(32)))
    assert "SECRETUM" not in str(refusal.value)


def test_a_heading_is_shown_printable_and_cut(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(f'PatientID,"Name\x1b[31m","Phone {" " * 90}",tb\nP1,a,b,1\n')
    shown = read_labels(tmp_path / "labels.csv", SiteKey(bytes(32))).identifying_columns
    assert all(one.isprintable() and len(one) <= 40 for one in shown)


def test_key_columns_are_read() -> None:
    for heading in ("PatientID", "Study Instance UID", "SeriesInstanceUID", "sop_instance_uid", "Image"):
        assert kind_of(heading) is not None
