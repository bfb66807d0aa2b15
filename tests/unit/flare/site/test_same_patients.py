"""A process that takes up a job again does so with the patients that the job was charged for, or not at all."""

from __future__ import annotations

import re

import pytest

from fedward.errors import BudgetError, FedwardError, LedgerError, PatientsError
from fedward.flare.protocol import Task
from fedward.flare.refusal import SENTENCES, Code, code_of, public_reason
from tests.unit.conftest import MakeCohort
from tests.unit.flare.site.conftest import HospitalSite, MakeSite

SAYS = "the cohort's patients are not those that this job was charged for"


def moved(site: HospitalSite, make_cohort: MakeCohort, patients: int) -> frozenset[str]:
    """Index other patients under the cohort's name; return those who are new."""
    before = {row.patient for row in site.cohort.rows}
    site.cohort = make_cohort(patients, site="moved")
    return frozenset(row.patient for row in site.cohort.rows) - before


@pytest.mark.parametrize("privacy", ["dp-sgd", "update-noise", "none"])
@pytest.mark.parametrize("patients", [40, 24, 9])
@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("task", [Task.ADMIT, Task.ROUND, Task.VALIDATE, Task.FINAL])
def test_other_patients_are_refused_at_any_task_and_nothing_is_recorded(
    make_site: MakeSite, make_cohort: MakeCohort, privacy: str, patients: int, closed: bool, task: Task
) -> None:
    site = make_site(privacy)
    site.ask(site.start(), Task.ADMIT)
    if closed:
        site.hospital.ledger.close(site.hospital.job_id)
    before, new = site.kinds, moved(site, make_cohort, patients)
    assert new
    with pytest.raises(FedwardError, match=SAYS) as refused:
        site.ask(site.start(), task, number=0 if task is Task.ROUND else -1)
    assert type(refused.value) is PatientsError and "submit the job again" in str(refused.value)
    assert public_reason(refused.value) == SENTENCES[Code.PATIENTS] and SAYS in SENTENCES[Code.PATIENTS]
    assert not re.search(r"[0-9a-f]{16}", str(refused.value))
    assert site.kinds == before
    assert site.hospital.ledger.spent(new, delta=1e-5) == 0.0


def test_the_same_patients_are_taken_up_again_at_a_round(make_site: MakeSite) -> None:
    site = make_site("dp-sgd")
    job = site.start()
    site.ask(job, Task.ADMIT)
    site.ask(job, Task.ROUND, number=0)
    job.close(ordinary=False)
    closed = site.hospital.ledger.find(site.hospital.job_id)
    site.ask(site.start(), Task.ROUND, number=1)
    charge = site.hospital.ledger.find(site.hospital.job_id)
    assert closed is not None and closed.closed
    assert charge is not None and not charge.closed and charge.begun_steps == 2 * closed.begun_steps
    assert [kind for kind in site.kinds if not kind.startswith("run-")] == [
        "create", "charge", "begin", "close", "reopen", "begin",
    ]  # fmt: skip


def test_another_charge_of_the_same_patients_is_refused_too(make_site: MakeSite) -> None:
    site = make_site("dp-sgd")
    site.ask(site.start(), Task.ADMIT)
    policy = site.hospital.local / "site.toml"
    policy.write_text(policy.read_text().replace("epsilon_cap = 1000.0", "epsilon_cap = 999.0"))
    with pytest.raises(LedgerError, match="stands in the ledger with other cap") as refused:
        site.ask(site.start(), Task.ADMIT)
    assert code_of(refused.value) is Code.LEDGER


def test_a_job_is_not_reopened_where_others_used_the_budget(make_site: MakeSite) -> None:
    site = make_site("dp-sgd")
    job = site.start()
    site.ask(job, Task.ADMIT)
    job.close(ordinary=False)
    policy = site.hospital.local / "site.toml"
    patients = frozenset(row.patient for row in site.cohort.rows if row.split == "train")
    event = site.hospital.ledger.charges()[0].event
    site.hospital.ledger.charge(
        job_id="other", job="other", cohort="chest", event=event.__class__(
            unit="patient", sampling_rate=1.0, noise_multiplier=0.05, steps=50
        ), rounds=1, patients=patients, cap=None, delta=1e-5,
    )  # fmt: skip
    before = site.kinds
    with pytest.raises(BudgetError):
        site.ask(site.start(), Task.ROUND, number=0)
    assert site.kinds == before and policy.is_file()
