"""The requests that a site answers: made anew, authorised, and answered without the text of an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nvflare.fuel.sec.authz import AuthorizationService
from nvflare.private.admin_defs import Message, error_reply, ok_reply
from nvflare.private.defs import ERROR_MSG_PREFIX, RequestHeader, SysCommandTopic, TrainingTopic
from nvflare.private.fed.client.client_req_processors import ClientRequestProcessors
from nvflare.private.scheduler_constants import ShareableHeader
from nvflare.security.security import FLAuthorizer

from fedward.errors import GateError
from fedward.flare.job_checks.form import OWN
from fedward.flare.kits.permissions import AUTHORIZATION
from fedward.flare.messages.site_requests import FAILED, PROCESSORS, SERVED, answered, authorised, checked

SITE, JOB = "north-clinic", "0b7a1c1e-5b0e-4c7a-9f00-000000000001"
LEAD = {RequestHeader.USER_NAME: "lead@example.org", RequestHeader.USER_ORG: "org", RequestHeader.USER_ROLE: "lead"}
SUBMITTER = {
    RequestHeader.SUBMITTER_NAME: "lead@example.org",
    RequestHeader.SUBMITTER_ORG: "org",
    RequestHeader.SUBMITTER_ROLE: "lead",
}
GOOD: dict[str, tuple[Any, dict[str, Any]]] = {
    TrainingTopic.CHECK_STATUS: ("", LEAD),
    SysCommandTopic.REPORT_RESOURCES: ("", LEAD),
    TrainingTopic.CHECK_RESOURCE: ({}, {RequestHeader.JOB_ID: JOB}),
    TrainingTopic.CANCEL_RESOURCE: ({}, {ShareableHeader.RESOURCE_RESERVE_TOKEN: "token"}),
    TrainingTopic.DEPLOY: (
        b"PK",
        {
            RequestHeader.JOB_ID: JOB,
            RequestHeader.APP_NAME: "app",
            RequestHeader.JOB_META: {"a": 1},
            **LEAD,
            **SUBMITTER,
        },
    ),
    TrainingTopic.START_JOB: (
        {},
        {
            RequestHeader.JOB_ID: JOB,
            RequestHeader.JOB_META: {"a": 1},
            ShareableHeader.RESOURCE_RESERVE_TOKEN: "token",
        },
    ),
    TrainingTopic.ABORT: ("", {RequestHeader.JOB_ID: JOB}),
    TrainingTopic.NOTIFY_JOB_STATUS: ("", {RequestHeader.JOB_ID: JOB, RequestHeader.JOB_STATUS: 3}),
}


def request(topic: str, body: Any, headers: dict[str, Any]) -> Message:
    made = Message(topic, body)
    made.set_headers(headers)
    return made


def origin_of(topic: str) -> str:
    return f"{SITE}.{JOB}" if SERVED[topic].own_job else "server"


def test_each_request_of_the_list_is_tried_here() -> None:
    assert GOOD.keys() == SERVED.keys()
    assert {topic for processor in PROCESSORS for topic in processor().get_topics()} == set(SERVED)


@pytest.mark.parametrize("topic", SERVED)
def test_a_request_is_made_anew_from_its_own_parts(topic: str) -> None:
    body, headers = GOOD[topic]
    made = checked(
        request(topic, body, headers | {"admin_command": "cat", "extra": "x"}), origin=origin_of(topic), site=SITE
    )
    assert made.topic == topic and made.body == body and "extra" not in made.headers
    assert all(made.get_header(name) == value for name, value in headers.items())
    assert made.get_header(RequestHeader.ADMIN_COMMAND) == SERVED[topic].right
    assert made.get_header(RequestHeader.REQUIRE_AUTHZ) == ("true" if SERVED[topic].right else None)


@pytest.mark.parametrize("topic", SERVED)
@pytest.mark.parametrize("origin", [SITE, "south-clinic", f"{SITE}.0", "server.1", "", None, "_admin_1"])
def test_nobody_else_asks(topic: str, origin: object) -> None:
    body, headers = GOOD[topic]
    with pytest.raises(GateError, match="nobody who may ask"):
        checked(request(topic, body, headers), origin=origin, site=SITE)


@pytest.mark.parametrize(("topic", "name"), [(topic, name) for topic, (_, named) in GOOD.items() for name in named])
@pytest.mark.parametrize("value", [None, "", 0.5, b"x", [], {}, "../../etc"])
def test_a_header_that_is_missing_or_of_another_kind_is_refused(topic: str, name: str, value: object) -> None:
    body, headers = GOOD[topic]
    if value == "../../etc" and name != RequestHeader.JOB_ID:
        return  # free text: a person's name, an app's
    with pytest.raises(GateError):
        checked(request(topic, body, headers | {name: value}), origin=origin_of(topic), site=SITE)


@pytest.mark.parametrize("topic", SERVED)
@pytest.mark.parametrize("body", ["cat /etc/passwd", {"num_of_gpus": 1}, ["x"], 7])
def test_another_body_is_refused(topic: str, body: object) -> None:
    with pytest.raises(GateError, match="another body"):
        checked(request(topic, body, GOOD[topic][1]), origin=origin_of(topic), site=SITE)


def test_what_flare_serves_besides_is_refused() -> None:
    others = {topic for one in ClientRequestProcessors.request_processors for topic in one.get_topics()} - set(SERVED)
    assert len(others) > 10
    for topic in others:
        with pytest.raises(GateError, match="none that a site answers"):
            checked(request(topic, "", LEAD), origin="server", site=SITE)


@given(
    st.none()
    | st.text()
    | st.binary()
    | st.dictionaries(st.text(), st.text())
    | st.builds(Message, st.none(), st.text())
)
def test_whatever_is_no_request_is_refused(content: object) -> None:
    with pytest.raises(GateError):
        checked(content, origin="server", site=SITE)


@pytest.fixture
def rights() -> None:
    AuthorizationService.the_authorizer = None
    AuthorizationService.initialize(FLAuthorizer("org", AUTHORIZATION))


@pytest.mark.usefixtures("rights")
@pytest.mark.parametrize(
    ("topic", "role", "allowed"),
    [
        (TrainingTopic.CHECK_STATUS, "member", True),
        (TrainingTopic.CHECK_STATUS, "no-such-role", False),
        (SysCommandTopic.REPORT_RESOURCES, "member", False),
        (SysCommandTopic.REPORT_RESOURCES, "project_admin", True),
        (TrainingTopic.DEPLOY, "member", False),
        (TrainingTopic.DEPLOY, "org_admin", False),
        (TrainingTopic.DEPLOY, "lead", True),
    ],
)
def test_the_sites_own_rights_decide(topic: str, role: str, allowed: bool) -> None:
    body, headers = GOOD[topic]
    made = checked(request(topic, body, headers | {RequestHeader.USER_ROLE: role}), origin="server", site=SITE)
    assert authorised(made) is allowed


@pytest.mark.parametrize("text", ["/srv/hospital/labels.csv is missing", "exception_occurred: KeyError 'DOE'"])
def test_an_error_leaves_without_its_text(text: str) -> None:
    assert answered(error_reply(text)).body == FAILED
    assert text not in answered(Message("reply", f"{ERROR_MSG_PREFIX}: {text}")).body
    assert answered(Message("reply", f"{ERROR_MSG_PREFIX}: {text}")).body.startswith(ERROR_MSG_PREFIX)
    assert answered(error_reply(f"{OWN}a sentence of ours")).body == f"{OWN}a sentence of ours"
    started = answered(Message("reply", f"{ERROR_MSG_PREFIX}: {OWN}a sentence of ours"))
    assert started.body == f"{ERROR_MSG_PREFIX}: {OWN}a sentence of ours"
    assert answered(ok_reply(body="fine")).body == "fine"
    assert answered(Path("x")).body == FAILED
