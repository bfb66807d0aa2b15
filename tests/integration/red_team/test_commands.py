"""Send unauthorised commands straight to a hospital's processes, with every participant's certificate."""

from __future__ import annotations

import uuid
from functools import partial

import pytest
from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey, ReturnCode
from nvflare.fuel.f3.message import Message

from fedward.flare.messages.site_requests import NOT_SERVED
from tests.integration.red_team.raw import Participant
from tests.integration.red_team.scene import Scene

pytestmark = pytest.mark.integration

SHELL = "sys.shell"
TOPICS = (
    "train.shutdown",
    "train.restart",
    "train.delete_run",
    "train.abort_task",
    "train.configure_job_log",
    "train.get_scopes",
    "sys.info",
    "sys.report_env",
    "sys.configure_site_log",
    "info.show_errors",
    "comp_caller.call",
)
CHANNELS = (
    ("_net_manager", "config_vars"),
    ("_net_manager", "process_info"),
    ("_net_manager", "change_root"),
    ("_net_manager", "stop"),
    ("aux_communication", "fed.event"),
    ("aux_communication", "ObjectStreamer.Request"),
    ("client_command", "show_errors"),
    ("client_command", "configure_job_log"),
    ("cellnet.channel", "bulk"),
    ("credential_manager", "key_exchange"),
    ("task", "register"),
)


def answered(message: Message) -> bool:
    return bool(message.get_header(MessageHeaderKey.RETURN_CODE) == ReturnCode.OK)


def test_no_participant_reads_a_file_of_a_hospital(stage: Scene, attacker: Participant) -> None:
    commands = [f"{tool} {path}" for path, _ in stage.secrets.values() for tool in ("cat", "tail -n 100", "grep .")]
    attacker.each([partial(attacker.command, stage.victim, SHELL, command) for command in commands])
    for name, (path, secret) in stage.secrets.items():
        assert not attacker.holds(secret), name
        assert secret in path.read_bytes(), "what is looked for is there"


def test_no_participant_commands_a_hospitals_process(stage: Scene, attacker: Participant) -> None:
    found = attacker.each([partial(attacker.command, stage.victim, topic) for topic in TOPICS])
    assert [topic for topic, reply in zip(TOPICS, found, strict=True) if answered(reply)] == []
    stage.federation.check()


def test_no_channel_of_a_hospital_answers_another_participant(stage: Scene, attacker: Participant) -> None:
    found = attacker.each([partial(attacker.ask, stage.victim, *one, {}) for one in CHANNELS])
    assert [one for one, reply in zip(CHANNELS, found, strict=True) if answered(reply)] == []
    assert stage.victim in stage.session.connected()


def test_no_jobs_process_answers_another_participant(stage: Scene, attacker: Participant, running_job: str) -> None:
    asked = (
        *CHANNELS,
        ("client_command", "abort"),
        ("client_command", "show_stats"),
        ("aux_communication", "__end_run__"),
    )
    for cell in (f"{stage.victim}.{running_job}", f"server.{running_job}"):
        found = attacker.each([partial(attacker.ask, cell, *one, {}) for one in asked])
        assert [one for one, reply in zip(asked, found, strict=True) if answered(reply)] == [], cell
    assert stage.session.status(running_job).startswith("RUNNING")


def test_a_participant_speaks_in_nobody_elses_name(stage: Scene, attacker: Participant) -> None:
    """The server accepts and forwards no frame whose origin is another participant."""
    mine, number = attacker.cell.core_cell.get_fqcn(), str(uuid.uuid4())
    for origin in ("server", stage.victim, f"{stage.victim}.00000000-0000-4000-8000-000000000000"):
        for destination in (stage.victim, "server"):
            attacker.raw(
                {
                    "cn__msg_type": "req",
                    "cn__channel": "admin",
                    "cn__topic": "admin",
                    "cn__origin": origin,
                    "cn__destination": destination,
                    "cn__from": mine,
                    "cn__to": "server",
                    "cn__req_id": number,
                    "cn__reply_expected": True,
                    "cn__route": [(origin, 0.0)],
                }
            )
    attacker.ask("server", "task", "challenge", {})
    assert f"origin is not who the connection leads to; from {mine}" in stage.log_of_the_server
    assert not any(number.encode() in frames for frames in stage.of_the_victim), "not asked, and not answered either"
    assert attacker.received
    assert stage.victim in stage.session.connected()


LYING = """
import fedward.flare.messages.guard
from nvflare.fuel.f3.cellnet.core_cell import CoreCell
from nvflare.fuel.f3.message import Message
from nvflare.private.admin_defs import Message as AdminMessage
answer, guard = {}, CoreCell._fedward_guard
guard.passes = lambda *given: True
try:
    for topic, body in {TOPICS}:
        reply = cell.send_request("admin", "admin", {SITE!r}, Message({{}}, AdminMessage(topic, body)), timeout=4.0)
        payload = reply.payload
        answer[topic + " " + str(body)] = [reply.get_header("cn__return_code"), str(getattr(payload, "body", payload))]
finally:
    del guard.passes  # the tests that follow are beside an honest server
"""


def test_a_server_that_lies_reads_and_commands_nothing(stage: Scene) -> None:
    """The server's own certificate, its own cell, and requests that no console made."""
    asked = [(SHELL, f"cat {path}") for path, _ in stage.secrets.values()] + [(topic, "") for topic in TOPICS]
    found = stage.server_does(
        LYING.replace("{TOPICS}", repr(asked)).replace("{SITE!r}", repr(stage.victim)).replace("{{}}", "{}")
    )
    assert isinstance(found, dict) and len(found) == len(asked), found
    for what, (_, body) in found.items():
        assert body == NOT_SERVED, what
    for name, (_, secret) in stage.secrets.items():
        assert not any(secret in frames for frames in stage.of_the_server), name
