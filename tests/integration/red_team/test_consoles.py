"""Check which consoles the server admits, and for whom: names, certificates and sessions."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from nvflare.apis.fl_exception import FLCommunicationError
from nvflare.fuel.f3.message import Message
from nvflare.fuel.hci.proto import Buffer
from nvflare.private.defs import ClientType

from tests.integration.red_team.raw import Participant, is_heard_as, participant
from tests.integration.red_team.scene import LEAD, MEMBER, ROGUE, Scene

pytestmark = pytest.mark.integration


def test_a_person_has_a_console_and_a_hospital_has_none(stage: Scene) -> None:
    free = "_admin_0b7a1c1e-5b0e-4c7a-9f00-00000000000"
    assert is_heard_as(stage.kits.people[MEMBER], stage.spec, f"{free}1")
    assert not is_heard_as(stage.kits.folder / ROGUE, stage.spec, f"{free}2")


def test_a_consoles_name_stays_with_its_certificate(stage: Scene) -> None:
    leads = stage.session._session.api.cell.core_cell.get_fqcn()
    assert not is_heard_as(stage.kits.people[MEMBER], stage.spec, leads)
    assert stage.victim in stage.session.connected(), "its owner is not disturbed"


@pytest.mark.parametrize("name", ["city-hospital", "server.0b7a1c1e-5b0e-4c7a-9f00-000000000001"])
def test_nobody_has_another_participants_name(stage: Scene, name: str) -> None:
    for kit in (stage.kits.people[MEMBER], stage.kits.folder / ROGUE):
        assert not is_heard_as(kit, stage.spec, name)


def test_a_person_signs_in_as_no_hospital(stage: Scene) -> None:
    """FLARE trusts the kind that a client claims; it would send jobs to it."""
    kit = stage.kits.people[MEMBER]
    with (
        pytest.raises(FLCommunicationError),
        participant(kit, stage.spec, name=MEMBER, is_console=True, signs_in_as=ClientType.REGULAR),
    ):
        pass
    assert MEMBER not in stage.session.connected()


@pytest.fixture
def member(stage: Scene) -> Iterator[Participant]:
    with participant(stage.kits.people[MEMBER], stage.spec, name=MEMBER, is_console=True) as connected:
        yield connected


def command(one: Participant, line: str, token: str) -> str:
    """A console's command, typed under a session of the sender's choice."""
    buffer = Buffer()
    buffer.append_command(line)
    buffer.append_token(token)
    answer = one.cell.send_request(
        channel="hci_channel",
        topic="command",
        target="server",
        request=Message({}, json.dumps(buffer.output)),
        timeout=10.0,
    )
    return str(answer.payload)


def test_a_stolen_session_serves_nobody_else(stage: Scene, member: Participant) -> None:
    """The lead's session token in a member's hands: no command is done in the lead's name."""
    token = stage.session._session.api.token
    assert token
    answer = command(member, "list_jobs", token)
    assert "another certificate" in answer
    assert "job_id" not in answer


def test_nobody_signs_in_as_somebody_else(stage: Scene, member: Participant) -> None:
    answer = command(member, f"_cert_login {LEAD}", "")
    assert "REJECT" in answer
