"""Check a person's session with a slow server: which requests are repeated, and which messages appear."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nvflare.apis.fl_exception import FLCommunicationError
from nvflare.fuel.flare_api.api_spec import (
    AuthenticationError,
    InternalError,
    JobNotDone,
    JobNotFound,
    NoConnection,
    NoReply,
    SessionClosed,
    SessionExpired,
)

from fedward.errors import FederationError
from fedward.flare import admin_session
from fedward.flare.admin_session import Console, console
from tests.support.authority import authority, site_kit

ID = "0b7a1c1e-5b0e-4c7a-9f00-000000000001"
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
    assert patient.wait(ID, each=lambda: None, poll_s=0.0) == "FINISHED:COMPLETED"


def test_a_server_that_stays_silent_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_session, "PATIENCE_S", 0.05)
    with pytest.raises(FederationError, match="the job may go on"):
        answering("RUNNING", *[NoConnection("x")] * 10_000).wait(ID, each=lambda: None, poll_s=0.001)


@pytest.mark.parametrize("error", SILENT)
def test_a_question_on_sites_and_an_abort_are_one_line_too(error: Exception) -> None:
    def silent(*_: object) -> None:
        raise error

    mute = Console(SimpleNamespace(get_connected_client_list=silent, abort_job=silent))
    for ask in (mute.connected, mute.last_seen, lambda: mute.abort(ID)):
        with pytest.raises(FederationError, match="does not answer in time"):
            ask()


def test_a_certificate_that_has_expired_is_said_before_anyone_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_session, "new_secure_session", None)
    of = authority()
    kit = site_kit(tmp_path / "me@demo.org", of, target="localhost:1", certificate=of.issue("me@demo.org", days=-1))
    with pytest.raises(FederationError, match="person's certificate has expired") as caught, console(kit):
        pass
    assert "`fedward federation renew me@demo.org`" in str(caught.value)


def persons_kit(folder: Path) -> Path:
    """The files of a person's kit that a connection needs, to a port where nobody listens."""
    kit = site_kit(folder / "kit", authority(), target="localhost:1")
    files = {"ca_cert": "rootCA.pem", "client_cert": "client.crt", "client_key": "client.key"}
    (kit / "startup" / "fed_admin.json").write_text(json.dumps({"admin": {**files, "host": "localhost", "port": 1}}))
    return kit


@pytest.mark.parametrize("error", SILENT)
def test_so_is_a_sign_in(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kit = persons_kit(tmp_path)

    def silent(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(admin_session, "new_secure_session", silent)
    with pytest.raises(FederationError, match="localhost:1: connection is refused"), console(kit):
        pass
    monkeypatch.setattr(admin_session, "reach", lambda endpoint, *, timeout_s: None)
    with pytest.raises(FederationError, match="server does not answer the sign-in"), console(kit):
        pass


@pytest.mark.parametrize(
    "told",
    ["../../../planted", "/home/precious", f"{ID} /home/other", "x\n\x1b[2J", "", None, ["a"], ID.upper(), ID + "/.."],
)
def test_an_id_that_leads_elsewhere_is_no_id_of_a_job(
    told: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lying server's, as it submits; and whatever a person types. FLARE would make paths and commands of it."""
    monkeypatch.setattr(admin_session, "require_job", lambda content: None)
    monkeypatch.setattr(admin_session, "read_folder", lambda folder: {})
    asked: list[object] = []
    lying = SimpleNamespace(
        submit_job=lambda folder: told,
        download_job_result=asked.append,
        get_job_status=asked.append,
        abort_job=asked.append,
    )
    console = Console(lying)
    for act in (
        lambda: console.submit(tmp_path),
        lambda: console.refusal(tmp_path),
        lambda: console.download(told, tmp_path),
        lambda: console.status(told),
        lambda: console.abort(told),
    ):
        with pytest.raises(FederationError, match="is no id of a job") as refused:
            act()
        assert str(refused.value).isprintable()
    assert asked == []


@pytest.mark.parametrize(
    "error",
    [
        *SILENT,
        JobNotFound("x"),
        JobNotDone("x"),
        InternalError("x"),
        TypeError("x"),
        RuntimeError("evil\n\x1b[31m"),
        KeyError(1),
    ],
)
def test_whatever_flare_raises_over_a_download_is_one_line(error: Exception, tmp_path: Path) -> None:
    def raises(*_: object) -> None:
        raise error

    with pytest.raises(FederationError) as said:
        Console(SimpleNamespace(download_job_result=raises)).download(ID, tmp_path)
    assert str(said.value).isprintable()
    if type(error) not in map(type, SILENT):
        with pytest.raises(FederationError):
            Console(SimpleNamespace(get_job_status=raises)).wait(ID, each=lambda: None)


def serving(*answers: Any) -> SimpleNamespace:
    """A session whose server answers in turn to the question for a job's meta, and counts its closings."""
    left, closed = iter(answers), []

    def meta(job_id: str) -> dict[str, Any]:
        answer = next(left)
        if isinstance(answer, Exception):
            raise answer
        return {"status": answer}

    return SimpleNamespace(get_job_meta=meta, close=lambda: closed.append(1), closed=closed)


@pytest.mark.parametrize("gone", [SessionClosed("x"), SessionExpired("x"), AuthenticationError("x")])
def test_a_server_that_was_started_again_is_signed_in_to_again(gone: Exception) -> None:
    old, new = serving("RUNNING", *SILENT, gone, gone), serving("SUBMITTED", "RUNNING")
    doors: list[Any] = [NoConnection("it starts"), AuthenticationError("not yet"), new]

    def again() -> Any:
        door = doors.pop(0)
        if isinstance(door, Exception):
            raise door
        return door

    console = Console(old, again=again)
    seen = [console.standing(ID) for _ in range(6)]
    assert [None if one is None else one.flare for one in seen] == ["RUNNING", None, None, None, None, None]
    old.get_job_meta = serving(gone).get_job_meta
    seen = [console.standing(ID) for _ in range(3)]
    assert [None if one is None else one.flare for one in seen] == [None, "SUBMITTED", "RUNNING"]
    assert (old.closed, new.closed) == ([1], [])
    console.close()
    assert new.closed == [1]


def test_a_session_that_cannot_be_opened_again_is_an_error() -> None:
    with pytest.raises(FederationError):
        Console(serving(SessionClosed("x"))).standing(ID)
    with pytest.raises(FederationError, match="no such job"):
        Console(serving(JobNotFound("x"))).standing(ID)
