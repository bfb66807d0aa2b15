"""The plan of provisioning: what is done to whom, before it is done."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.errors import FederationError
from fedward.provisioning.inventory import Inventory, Issued, Participant
from fedward.provisioning.participants import lines_of
from fedward.provisioning.plan import Plan, make_plan
from fedward.settings import FederationSpec, parse

TODAY = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def spec_of(*sites: str, host: str = "fl.example.org", port: int = 8102, organisation: str = "org") -> FederationSpec:
    content = {
        "name": "trial",
        "server": {"host": host, "port": port, "organisation": "operator"},
        "hospitals": [{"site": site, "organisation": organisation} for site in sites],
        "people": [{"email": "lead@trial.org", "organisation": "operator", "role": "lead"}],
    }
    return parse(FederationSpec, content, where="trial")


def certificate(days: int = 300, *, revoked: bool = False) -> Issued:
    return Issued(
        serial="ab",
        key="cd",
        issued_at=TODAY - DAY,
        not_after=TODAY + days * DAY,
        revoked_at=TODAY if revoked else None,
    )


def issued(spec: FederationSpec, inventory: Inventory | None, names: frozenset[str]) -> Inventory:
    """The inventory after a plan's new kits were made."""
    inventory = inventory or Inventory(federation=spec.name, host=spec.server.host, port=spec.server.port, crl_number=1)
    made = []
    for line in lines_of(spec):
        if line.name in names:
            before = inventory.find(line.name)
            one = Participant(
                name=line.name,
                kind=line.kind,
                organisation=line.organisation,
                role=line.role,
                way="central",
                fedward="0",
                flare="0",
                wheel="0",
                certificates=before.certificates if before else (),
            )
            made.append(one.with_certificate(certificate()))
    return inventory.having(*made)


def full(spec: FederationSpec) -> Inventory:
    return issued(spec, None, frozenset(line.name for line in lines_of(spec)))


def said(plan: Plan, name: str) -> str:
    return next(str(step) for step in plan.steps if step.name == name)


def changed(inventory: Inventory, name: str, **facts: Any) -> Inventory:
    known = inventory.find(name)
    assert known is not None
    return inventory.having(known.model_copy(update=facts))


def test_everything_is_new_at_first() -> None:
    plan = make_plan(spec_of("north", "south"), None, today=TODAY)
    assert plan.names("new") == {"fl.example.org", "north", "south", "lead@trial.org"}
    assert said(plan, "north") == "+ north (new kit, central)"


def test_a_new_line_is_the_only_new_kit() -> None:
    plan = make_plan(spec_of("north", "south", "west"), full(spec_of("north", "south")), today=TODAY)
    assert plan.names("new") == {"west"}
    assert said(plan, "north") == "= north (kept, certificate 300 days)"


def test_a_changed_line_refuses_the_whole_run() -> None:
    inventory = full(spec_of("north", "south"))
    plan = make_plan(spec_of("north", "south", "west", organisation="other"), inventory, today=TODAY)
    assert said(plan, "south") == "~ south (organisation changed; not done: revoke and provision anew)"
    with pytest.raises(FederationError, match=r"north: organisation changed.*nothing was written"):
        plan.require_possible()


@pytest.mark.parametrize("server", [{"host": "other.example.org"}, {"port": 9000}])
def test_another_server_would_change_every_kit(server: dict[str, Any]) -> None:
    plan = make_plan(spec_of("north", **server), full(spec_of("north")), today=TODAY)
    with pytest.raises(FederationError, match=r"server changed from fl.example.org:8102 to .*put it back"):
        plan.require_possible()


def test_who_is_gone_from_the_file_is_named() -> None:
    plan = make_plan(spec_of("north"), full(spec_of("north", "south")), today=TODAY)
    assert said(plan, "south") == "- south (gone from the file: still has a certificate; federation revoke south)"
    plan.require_possible()


@pytest.mark.parametrize(
    ("days", "note"),
    [
        (30, "= north (kept, certificate 30 days)"),
        (29, "! north (expires in 29 days: federation renew north)"),
        (0, "! north (expires in 0 days: federation renew north)"),
        (-1, "! north (expired 2026-11-20: federation renew north)"),
    ],
)
def test_a_certificate_that_ends_is_named_from_30_days_before(days: int, note: str) -> None:
    inventory = changed(full(spec_of("north")), "north", certificates=(certificate(days),))
    assert said(make_plan(spec_of("north"), inventory, today=TODAY), "north") == note


def test_who_was_revoked_gets_a_kit_only_when_named() -> None:
    spec = spec_of("north")
    inventory = changed(full(spec), "north", certificates=(certificate(revoked=True),))
    assert not make_plan(spec, inventory, today=TODAY).names("new")
    again = make_plan(spec, inventory, today=TODAY, anew=["north"])
    assert again.names("new") == {"north"}
    inventory = issued(spec, inventory, again.names("new"))
    with pytest.raises(FederationError, match="not revoked"):
        make_plan(spec, inventory, today=TODAY, anew=["north"]).require_possible()


def test_who_was_revoked_may_change_its_line() -> None:
    inventory = changed(full(spec_of("north")), "north", certificates=(certificate(revoked=True),))
    make_plan(spec_of("north", organisation="other"), inventory, today=TODAY).require_possible()


def test_who_is_invited_gets_no_central_kit() -> None:
    spec = spec_of("north")
    inventory = changed(full(spec), "north", certificates=(), invited_at=TODAY, way="distributed")
    plan = make_plan(spec, inventory, today=TODAY)
    assert said(plan, "north") == "= north (invited 2026-11-21, waits for its request)"
    assert not plan.names("new")


def test_only_those_who_are_asked_for() -> None:
    plan = make_plan(spec_of("north", "south"), None, today=TODAY, only=["fl.example.org"])
    assert plan.names("new") == {"fl.example.org"}
    with pytest.raises(FederationError, match="'nowhere'"):
        make_plan(spec_of("north"), None, today=TODAY, only=["nowhere"])


NAMES = st.lists(st.sampled_from("abcdefgh"), min_size=1, unique=True)


@given(before=NAMES, after=NAMES, revoked=st.sets(st.sampled_from("abcdefgh")), only=st.sets(st.sampled_from("abc")))
def test_planned_again_nothing_is_new(before: list[str], after: list[str], revoked: set[str], only: set[str]) -> None:
    """Whatever happened before: once done, a plan has nothing left to do, and never touched who had a kit."""
    inventory = full(spec_of(*before))
    for name in revoked & set(before):
        inventory = changed(inventory, name, certificates=(certificate(revoked=True),))
    spec, asked = spec_of(*after), sorted(only & set(after))
    plan = make_plan(spec, inventory, today=TODAY, only=asked)
    assert not plan.names("new") & set(before)
    done = issued(spec, inventory, plan.names("new"))
    again = make_plan(spec, done, today=TODAY, only=asked)
    assert not again.names("new")
    assert plan.names("kept") | plan.names("new") == again.names("kept")
    for name in before:
        assert done.find(name) == inventory.find(name)
