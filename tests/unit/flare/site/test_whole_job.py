"""An encrypted job from the controller's first task to its last, through the real gates of every hospital."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nvflare.apis.shareable import Shareable

from fedward.encryption.keys.key import FederationKey
from fedward.flare.protocol import REFUSED_AT_DOOR, Reply, Task, refusal, refuse, to_shareable
from fedward.flare.refusal import Code
from fedward.flare.summed_counts import counts_length
from fedward.privacy.ledger.runs import CONFIRM, LEAVE, OPEN, SUM, VALIDATE
from fedward.privacy.policy.job_hash import job_hash
from tests.support.flare.hospital import MECHANISMS, METRICS, Hospital
from tests.support.flare.server import JOB_ID, Ran, Site, run
from tests.support.flare.three import KEY

ROUNDS = 3
SITES = ("city", "coast", "north", "west")
FEDERATION = {
    "rounds": ROUNDS,
    "min_sites": 3,
    "weighting": "equal",
    "local_baseline": False,
    "round_timeout_s": 20.0,
    "grace_s": 20.0,
}


@pytest.fixture(params=[KEY, None], ids=["aes-ctr", "masked"])
def shared(request: pytest.FixtureRequest) -> FederationKey | None:
    """The federation's key, or None for a masked job."""
    found: FederationKey | None = request.param
    return found


def encryption(shared: FederationKey | None) -> dict[str, Any]:
    return {"clipping_range": 8.0, "scheme": "masked" if shared is None else shared.scheme}


@dataclass
class Gated(Site):
    """A hospital whose executor is a stand-in and whose gates are real.

    Attributes:
        hospital: its folder, record and gates.
        auc: what it measures of the model that so many rounds have made.
        restarts: before which tasks its process is started anew.
        refused: what its gates did not let through.
    """

    hospital: Any = None
    auc: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8)
    restarts: frozenset[Task] = frozenset()
    refused: list[str] = field(default_factory=list)

    def answer(self, task: Task, data: Shareable, *, seed: int) -> Shareable:
        if task in self.restarts:
            self.hospital.restart()
        received = self.hospital.ingress.process(data, self.hospital.context(task))
        reason = received.get_header(REFUSED_AT_DOOR)
        reply = refuse(Code.AT_DOOR.value) if reason else to_shareable(self._reply(task, data, seed=seed))
        sent = self.hospital.send(reply, task)
        if refusal(sent) is not None:
            self.refused.append(f"{task}: {refusal(sent)}")
        return sent

    def _reply(self, task: Task, data: Shareable, *, seed: int) -> Reply:
        job, after = self.hospital.job, data.get_header("fedward_after")
        metrics = {} if after is None else {"scores": METRICS["scores"] | {"auc": self.auc[after]}}
        if task is Task.ROUND:
            return Reply(metrics=metrics, update=self.hospital.update(seed=seed))
        if task is Task.FINAL:
            counts = {purpose: counts_length(job, purpose) for purpose in ("cohort", "scores")}
            return Reply(metrics=metrics, counts={name: np.ones(size, np.int64) for name, size in counts.items()})
        if task is Task.POOL:
            return Reply()
        return Reply(metrics=metrics if task is Task.VALIDATE else {})


def whole(
    folder: Path, shared: FederationKey | None, *, select: str, invited: tuple[str, ...] = SITES, **sites: Gated
) -> tuple[Ran, dict[str, Gated]]:
    """A first run of a job over those invited; the others of ``sites`` have a hospital too, and no part in it."""
    made = {site: sites.get(site, Gated()) for site in sorted({*SITES, *sites})}
    for site, one in made.items():
        one.hospital = Hospital(
            folder / site,
            site=site,
            shared=shared,
            masked=shared is None,
            job_id=JOB_ID,
            admitted=False,
            changes={"federation": FEDERATION | {"select": select}, "encryption": encryption(shared)},
        )
        one.hospital.restart()
    return _run(folder / "server", shared, {site: made[site] for site in invited}, select=select), made


def again(folder: Path, shared: FederationKey | None, made: dict[str, Gated], *, select: str) -> Ran:
    """The job once more under another id, over hospitals with their records."""
    for one in made.values():
        one.hospital.job_id = "job-2"
        one.hospital.charge()
        one.hospital.restart()
    return _run(folder, shared, made, select=select, job_id="job-2")


def _run(
    folder: Path, shared: FederationKey | None, made: dict[str, Gated], *, select: str, job_id: str = JOB_ID
) -> Ran:
    tables = {
        "federation": FEDERATION | {"select": select},
        "encryption": encryption(shared),
        "privacy": MECHANISMS["none"],
    }
    return run(folder, made, job_id=job_id, **tables)


def kinds(hospital: Hospital) -> list[str]:
    return [entry.kind for entry in hospital.record.entries()]


@pytest.mark.parametrize(
    ("select", "auc", "best"),
    [
        ("last", (0.5, 0.9, 0.7, 0.6), 3),
        ("best", (0.5, 0.6, 0.7, 0.8), 3),
        ("best", (0.5, 0.9, 0.7, 0.6), 1),
        ("best", (0.9, 0.6, 0.7, 0.8), 0),
    ],
)
def test_an_honest_job_runs_to_its_end_with_one_final_model_at_every_hospital(
    tmp_path: Path, shared: FederationKey | None, select: str, auc: tuple[float, ...], best: int
) -> None:
    ran, made = whole(tmp_path, shared, select=select, **{site: Gated(auc=auc) for site in SITES})
    assert ran.of("failed") == [] and ran.of("finished")
    assert [one.refused for one in made.values()] == [[]] * len(SITES)
    assert [event["round"] for event in ran.of("selected")] == ([] if select == "last" else [best])
    runs = {site: one.hospital.record.require(JOB_ID) for site, one in made.items()}
    (final,) = {run.final for run in runs.values()}
    assert final is not None and final.after == best
    assert all(run.left == ROUNDS - 1 for run in runs.values())
    assert {run.job for run in runs.values()} == {job_hash(made["city"].hospital.job)}
    assert len({tuple(sorted((run.roster or {}).items())) for run in runs.values()}) == 1
    for one in made.values():
        found = kinds(one.hospital)
        assert found.count(LEAVE) == ROUNDS and found.count(VALIDATE) == (select == "best")
        assert found.count(SUM) == ROUNDS + 2, "each round's model, the histograms, the statistics"
        assert found.count(CONFIRM) == 2
    revealed = sum(kinds(one.hospital).count(OPEN) for one in made.values())
    assert (revealed, len(ran.of("opened"))) == ((1, 1) if best else (0, 0))


@pytest.mark.parametrize("task", [Task.VALIDATE, Task.FINAL, Task.CONFIRM])
def test_a_hospital_that_is_restarted_at_any_task_takes_part_to_the_end(
    tmp_path: Path, shared: FederationKey | None, task: Task
) -> None:
    auc = (0.5, 0.9, 0.7, 0.6)
    changed = {site: Gated(auc=auc, restarts=frozenset({task, Task.ROUND})) for site in SITES}
    ran, made = whole(tmp_path, shared, select="best", **changed)
    assert ran.of("finished") and [one.refused for one in made.values()] == [[]] * len(SITES)
    assert len(ran.of("opened")) == 1


def test_a_hospital_that_missed_rounds_comes_back(tmp_path: Path, shared: FederationKey | None) -> None:
    away = Gated(lambda task, number: "no disk space" if task is Task.ROUND and number < 2 else 0.0)
    ran, made = whole(tmp_path, shared, select="last", west=away)
    assert ran.of("finished") and made["west"].refused == []
    assert [event["sites"] for event in ran.of("round")] == [[*SITES[:3]], [*SITES[:3]], [*SITES]]
    assert made["west"].hospital.record.require(JOB_ID).left == ROUNDS - 1


@pytest.mark.parametrize("sites", [SITES[:3], (*SITES, "south")], ids=["one less", "one more"])
def test_a_job_again_with_other_hospitals_tells_the_lead_the_remedy_before_any_trains(
    tmp_path: Path, shared: FederationKey | None, sites: tuple[str, ...]
) -> None:
    ran, made = whole(tmp_path, shared, select="last", south=Gated())
    assert ran.of("finished")
    ran = again(tmp_path / "again", shared, {site: made[site] for site in sites}, select="last")
    says = "ingress gate: other hospitals were summed in another run of this job; submit it with another job.seed"
    (failed,) = ran.of("failed")
    assert "look at the hospitals' reasons" in failed["reason"] and ran.of("round") == []
    known = sorted({*sites} & {*SITES})
    assert {event["site"]: event["reason"] for event in ran.of("dropped")} == dict.fromkeys(known, says)
    assert all(made[site].hospital.record.require("job-2").left == -1 for site in known)


def test_a_job_again_with_the_same_hospitals_runs_to_its_end(tmp_path: Path, shared: FederationKey | None) -> None:
    _, made = whole(tmp_path, shared, select="best")
    ran = again(tmp_path / "again", shared, made, select="best")
    assert ran.of("finished") and [one.refused for one in made.values()] == [[]] * len(SITES)
