"""Compare the messages that FLARE listens to in a running federation with the page of those that are answered."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
from nvflare.private.fed.client.admin_commands import AdminCommands
from nvflare.private.fed.client.client_req_processors import ClientRequestProcessors

from fedward.flare.messages.rules import read_name
from tests.integration.red_team.scene import Scene

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def page(root: Path) -> dict[str, Any]:
    return runpy.run_path(str(root / "docs" / "messages.py"))


def test_flare_registers_what_the_page_lists_and_nothing_more(
    stage: Scene, running_job: str, page: dict[str, Any]
) -> None:
    """A version of FLARE that registers one more channel or topic fails here, until somebody has looked at it."""
    lines = [line for path in (stage.tap / "handlers").iterdir() for line in path.read_text().splitlines()]
    found = set()
    for me, channel, topic, _ in map(json.loads, lines):
        cell = read_name(me)
        assert cell is not None, me
        found.add((cell.party, channel, topic))
    assert stage.session.status(running_job).startswith("RUNNING"), "processes of all four kinds were up"
    listed, late = set(page["FLARE_REGISTERS"]), set(page["ON_DEMAND"])
    assert found - listed - late == set(), "FLARE listens to more than the page says"
    assert listed - found == set(), "the page lists what FLARE no longer listens to"


def test_flare_serves_the_requests_that_the_page_lists_and_no_more(page: dict[str, Any]) -> None:
    """FLARE's own tables, in a process without Fedward's guard."""
    served = {topic for processor in ClientRequestProcessors.request_processors for topic in processor.get_topics()}
    assert served == set(page["FLARE_SERVES"])
    commands = {command.get_command_name() for command in AdminCommands.commands}
    assert commands == set(page["FLARE_COMMANDS"])
