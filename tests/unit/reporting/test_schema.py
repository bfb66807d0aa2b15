"""The schemas in the package are those of the code, and what is written keeps to them."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator, ValidationError

from fedward.reporting.data.from_events import report_of
from fedward.reporting.data.report import Report
from fedward.reporting.dossier.dossier import dossier_of
from fedward.reporting.dossier.page import JSON_FILE as DOSSIER_FILE
from fedward.reporting.dossier.page import write_dossier
from fedward.reporting.schema import FILES, text_of
from fedward.reporting.write import JSON_FILE, read_report, write_report
from tests.support.report_events import made_events, made_job


@pytest.fixture
def made() -> Report:
    job = made_job()
    return report_of(job, made_events(job))


def schema(name: str) -> Draft202012Validator:
    content = json.loads(files("fedward.reporting").joinpath(name).read_text("utf-8"))
    Draft202012Validator.check_schema(content)
    return Draft202012Validator(content)


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_file_is_what_the_classes_say(name: str) -> None:
    text = files("fedward.reporting").joinpath(name).read_text("utf-8")
    assert text == text_of(name), "run `python -m fedward.reporting.schema custom/fedward/reporting`"


def test_a_written_report_keeps_to_the_schema_and_is_read_again(made: Report, tmp_path: Path) -> None:
    write_report(tmp_path, made)
    content = json.loads((tmp_path / JSON_FILE).read_text())
    schema("report.schema.json").validate(content)
    assert content["schema"] == 3
    assert read_report(tmp_path) == made == read_report(tmp_path / JSON_FILE)


def test_a_dossier_keeps_to_its_schema(made: Report, tmp_path: Path) -> None:
    model = tmp_path / "FL_global_model.pt"
    model.write_bytes(b"weights")
    write_dossier(tmp_path, dossier_of(made, model))
    schema("dossier.schema.json").validate(json.loads((tmp_path / DOSSIER_FILE).read_text()))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content.update(patient="DOE^JANE"),
        lambda content: content["sites"][0]["federated"].update(value="0.9"),
        lambda content: content["sites"][0].pop("federated"),
        lambda content: content.update(schema=1),
        lambda content: content["ledger"][0]["sites"]["elm"].update(outcome="perhaps"),
    ],
)
def test_what_is_added_missing_or_of_another_kind_is_refused(spoil, made: Report, tmp_path: Path) -> None:
    write_report(tmp_path, made)
    content = json.loads((tmp_path / JSON_FILE).read_text())
    spoil(content)
    with pytest.raises(ValidationError):
        schema("report.schema.json").validate(content)
