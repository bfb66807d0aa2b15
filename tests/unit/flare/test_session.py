"""A person's session beside a server that is slow: what is asked again, and what is said."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nvflare.apis.fl_exception import FLCommunicationError
from nvflare.fuel.flare_api.api_spec import NoConnection, NoReply

from fedward.errors import FederationError
from fedward.flare import session
from fedward.flare.session import Console, console

SILENT = [NoConnection("x"), NoReply("x"), FLCommunicationError("x")]


def answering(*answers: Any) -> Console:
    """A console whose server gives these answers to the questions after a job's status."""
    left = iter(answers)

    def status(job_id: str) -> str:
        answer = next(left)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    return Console(SimpleNamespace(get_job_status=status))


def test_a_question_that_is_not_answered_is_asked_again() -> None:
    patient = answering("RUNNING", *SILENT, "RUNNING", *SILENT, "FINISHED:COMPLETED")
    assert patient.wait("id", each=lambda: None, poll_s=0.0) == "FINISHED:COMPLETED"


def test_a_server_that_stays_silent_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "PATIENCE_S", 0.05)
    with pytest.raises(FederationError, match="the job may go on"):
        answering("RUNNING", *[NoConnection("x")] * 10_000).wait("id", each=lambda: None, poll_s=0.001)


@pytest.mark.parametrize("error", SILENT)
def test_a_question_on_sites_is_one_line_too(error: Exception) -> None:
    def silent() -> None:
        raise error

    with pytest.raises(FederationError, match="does not answer in time"):
        Console(SimpleNamespace(get_connected_client_list=silent)).last_seen()


@pytest.mark.parametrize("error", SILENT)
def test_so_is_a_sign_in(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "startup").mkdir()

    def silent(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(session, "new_secure_session", silent)
    with pytest.raises(FederationError, match="cannot be reached"), console(tmp_path):
        pass
