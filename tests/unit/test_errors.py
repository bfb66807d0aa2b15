"""Errors: one line, and they cross a process boundary whole."""

from __future__ import annotations

import pickle
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fedward.errors import CohortError, FedwardError, JobError, SettingsError, StudyError
from fedward.visible import quoted


def test_a_message_is_one_line_with_what_where_value_and_remedy() -> None:
    line = str(CohortError("no\nimages", where=Path("/data/x"), value=3, remedy="give\tanother folder"))
    assert line == "/data/x: no images: 3; give another folder"


@given(st.text(), st.text(), st.one_of(st.text(), st.integers()), st.text())
def test_no_message_steers_a_terminal_whatever_it_is_made_of(what: str, where: str, value: object, remedy: str) -> None:
    for error in (JobError(what, where=where, value=value, remedy=remedy), StudyError(what, where)):
        line = str(error)
        assert line.isprintable() and "  " not in line
    assert str(JobError("bad\x1b[2J name\u202e")) == "bad [2J name"


def test_a_reason_that_could_divide_a_list_is_in_quotation_marks() -> None:
    assert quoted("no answer in time") == "no answer in time"
    assert quoted('gone; coast ("revoked")') == "\"gone; coast ('revoked')\""


def test_every_error_can_be_caught_as_one() -> None:
    assert issubclass(StudyError, CohortError)
    for kind in (SettingsError, CohortError, JobError):
        assert issubclass(kind, FedwardError)


def test_an_error_comes_back_from_a_worker_process_as_it_was() -> None:
    refused = pickle.loads(pickle.dumps(StudyError("blank-image", "all\npixels equal")))
    assert (refused.reason, refused.detail) == ("blank-image", "all pixels equal")
    error = pickle.loads(pickle.dumps(JobError("unknown network", value="Dense", remedy="use DenseNet")))
    assert str(error) == "unknown network: 'Dense'; use DenseNet"
