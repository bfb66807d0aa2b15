"""Check that a gate counts as closed only if everything was sent and only the control was answered."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.doctor.context import Limits
from fedward.doctor.findings import Finding, Voice
from fedward.doctor.probes import server as server_probes
from fedward.doctor.probes import site as site_probes
from fedward.doctor.probes.judgement import judge, judge_jobs
from fedward.errors import FederationError
from fedward.flare.admin_session import Console
from fedward.flare.probes import requests
from fedward.flare.probes.outcome import Outcome, Probe, Refusal
from fedward.provisioning.network.connectivity import Endpoint
from tests.support.doctor_case import levels

SAY = Voice("door")
PROBES = st.lists(st.builds(Probe, st.sampled_from(["a", "b", "c"]), st.sampled_from(Outcome)), max_size=6)


def judged(control: Outcome, probes: Sequence[Probe]) -> list[Finding]:
    return list(judge(SAY, control=Probe("bye", control), probes=probes, passed="shut", answered="open", remedy="mend"))


@given(control=st.sampled_from(Outcome), probes=PROBES)
def test_it_passes_if_and_only_if_the_control_alone_was_answered(control: Outcome, probes: list[Probe]) -> None:
    found = judged(control, probes)
    shut = control is Outcome.ANSWERED and bool(probes) and all(one.outcome is Outcome.SILENT for one in probes)
    assert levels(found) == ({"pass"} if shut else {"fail"})
    assert {one.value for one in found if one.what == "open"} == {
        one.what for one in probes if one.outcome is Outcome.ANSWERED
    }
    assert all(one.remedy for one in found if one.level == "fail")


def test_each_thing_that_shows_nothing_says_so() -> None:
    silent = [Probe("a", Outcome.SILENT)]
    for found in (judged(Outcome.SILENT, silent), judged(Outcome.ANSWERED, []), judged(Outcome.UNKNOWN, silent)):
        assert [one.what.startswith("cannot be shown") for one in found] == [True]
    (sent,) = judged(Outcome.ANSWERED, [*silent, Probe("b", Outcome.UNKNOWN)])
    assert sent.value == "b" and sent.what.startswith("cannot be shown")


REASONS = st.one_of(st.none(), st.sampled_from(["form", "class", "signature", "unchecked"]))


@given(reasons=st.tuples(REASONS, REASONS, REASONS))
def test_a_job_must_be_refused_for_what_is_wrong_with_it(reasons: tuple[str | None, str | None, str | None]) -> None:
    first, second, unsigned = reasons
    refusals = [Refusal("more", first, "form"), Refusal("other", second, "class"), Refusal("unsigned", unsigned)]
    found = list(judge_jobs(SAY, refusals=refusals, unchecked="unchecked", remedy="mend"))
    due = [first == "form", second == "class", unsigned == "signature"]
    assert [one.level for one in found] == ["pass" if right else "fail" for right in due]
    taken = [one.what.endswith("is taken") for one in found]
    assert taken == [reason is None for reason in reasons]


def test_no_job_offered_is_no_pass() -> None:
    assert levels(judge_jobs(SAY, refusals=[], unchecked="unchecked", remedy="mend")) == {"fail"}


def site(monkeypatch: pytest.MonkeyPatch, *ports: tuple[int, ...], ask: Any = None) -> list[Finding]:
    """Return the findings on processes with these ports, each of which answers as ``ask``."""
    found = tuple(SimpleNamespace(pid=number, ports=of) for number, of in enumerate(ports))
    monkeypatch.setattr("fedward.doctor.site.process.running", lambda kit: found)
    monkeypatch.setattr(requests, "ask_site", ask)
    case: Any = SimpleNamespace(client={"client": {"fqsn": "north"}}, kit=None)
    return list(site_probes.messages(case))


def test_a_site_that_does_not_run_is_neither_good_nor_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    assert levels(site(monkeypatch)) == {"skip"}


def test_a_process_that_cannot_be_asked_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    def throws(site: str, port: int) -> None:
        raise FederationError("site's process does not speak with a job")

    assert levels(site(monkeypatch, ())) == {"fail"}
    assert levels(site(monkeypatch, (1,), ask=throws)) == {"fail"}


def test_every_process_and_port_has_to_be_shut(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(site: str, port: int) -> tuple[Probe, tuple[Probe, ...]]:
        return Probe("bye", Outcome.ANSWERED), (Probe("a", Outcome.ANSWERED if port == 3 else Outcome.SILENT),)

    assert [one.level for one in site(monkeypatch, (1,), (2, 3), ask=asked)] == ["pass", "pass", "fail"]


@pytest.mark.parametrize("takes", [(True, False), (False, True)])
def test_a_server_that_goes_on_with_old_tls_or_no_certificate_fails(
    monkeypatch: pytest.MonkeyPatch, takes: tuple[bool, bool]
) -> None:
    monkeypatch.setattr(
        server_probes, "goes_on", lambda endpoint, *, highest, certificate, timeout_s: takes[0 if certificate else 1]
    )
    case: Any = SimpleNamespace(server=SimpleNamespace(address="here:1"), limits=Limits())
    assert [one.level for one in server_probes.tls_floor(case)] == ["fail" if one else "pass" for one in takes]


def test_a_persons_kit_names_the_server(tmp_path: Any) -> None:
    with pytest.raises(FederationError, match="not a person's kit"):
        Endpoint.of_person(tmp_path)
    (tmp_path / "startup").mkdir()
    for text in ("[]", "{}", '{"admin": {"host": "", "port": 1}}'):
        (tmp_path / "startup" / "fed_admin.json").write_text(text)
        with pytest.raises(FederationError, match="does not say where the server is"):
            Endpoint.of_person(tmp_path)


@pytest.mark.parametrize(
    ("data", "meta", "due"),
    [
        ([{"type": "string", "data": "server"}], {}, True),
        ([{"type": "table", "rows": []}], {"status": "ok"}, True),
        ([{"type": "error", "data": 'Unknown command "x"'}], {"status": "error", "info": 'Unknown command "x"'}, False),
        ([{"type": "error", "data": "one cell is silent"}], {"status": "error", "info": "one cell is silent"}, True),
        ([{"type": "string", "data": "x"}], {"status": "not_authorized"}, False),
        ([], {}, None),
        (None, {}, None),
    ],
)
def test_a_command_without_an_answer_is_neither_done_nor_refused(data: Any, meta: Any, due: bool | None) -> None:
    reply = {"data": data, "meta": meta, "status": "any"}
    session = SimpleNamespace(api=SimpleNamespace(server_execute=lambda command: reply))
    assert Console(session).does("cells") is due
