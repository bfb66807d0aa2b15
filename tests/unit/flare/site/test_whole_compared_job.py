"""A job that compares its masked models, from the controller's first task to its last, through the real gates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fedward.flare.protocol import Task
from fedward.flare.server.averaging.choosing import LATE
from fedward.flare.server.averaging.compared_round import FAR
from fedward.privacy.ledger.runs import COMPARE, SUM
from tests.support.flare.hospital import MECHANISMS, Hospital
from tests.support.flare.server import JOB_ID, Ran, run
from tests.unit.flare.site.test_whole_job import FEDERATION, ROUNDS, Gated, kinds

SITES = ("city", "coast", "north", "valley", "west", "yard", "zurich")
TABLES: dict[str, Any] = {
    "federation": FEDERATION | {"aggregation": "byzsecagg", "min_sites": 5, "max_malicious": 1},
    "encryption": {"clipping_range": 8.0, "max_colluding": 1},
}


class Far(Gated):
    """A hospital whose executor sends a model far from the others'."""

    def _reply(self, task: Task, data: Any, *, seed: int) -> Any:
        made = super()._reply(task, data, seed=seed)
        if made.update is not None:
            made = type(made)(metrics=made.metrics, update={name: array * 300 for name, array in made.update.items()})
        return made


def whole(
    folder: Path, tables: dict[str, Any] = TABLES, names: tuple[str, ...] = SITES, **sites: Gated
) -> tuple[Ran, dict[str, Gated]]:
    made = {site: sites.get(site, Gated()) for site in names}
    for site, one in made.items():
        one.hospital = Hospital(
            folder / site, site=site, shared=None, masked=True, job_id=JOB_ID, admitted=False, changes=tables
        )
        one.hospital.restart()
    return run(folder / "server", made, job_id=JOB_ID, privacy=MECHANISMS["none"], **tables), made


def test_every_round_leaves_the_false_hospital_out(tmp_path: Path) -> None:
    ran, made = whole(tmp_path, north=Far())
    assert ran.of("failed") == [] and ran.of("finished")
    assert [one.refused for one in made.values()] == [[]] * len(SITES)
    honest = [site for site in SITES if site != "north"]
    assert [event["sites"] for event in ran.of("round")] == [honest] * ROUNDS
    assert not ran.of("dropped"), "nothing is wrong with the one that is left out"
    parts = [event["participation"]["north"] for event in ran.of("round")]
    assert [(part["outcome"], part["reason"]) for part in parts] == [("left out", FAR)] * ROUNDS
    for one in made.values():  # also the one that was left out opens each sum, and confirms the last
        found = kinds(one.hospital)
        assert found.count(COMPARE) == 3 * ROUNDS and found.count(SUM) == ROUNDS + 2
    assert len(ran.of("opened")) == 1


def test_as_many_sites_as_must_take_part_are_enough(tmp_path: Path) -> None:
    """The one that is left out of every sum has sent its model all the same."""
    tables = {**TABLES, "federation": TABLES["federation"] | {"min_sites": 5}}
    ran, _ = whole(tmp_path, tables, SITES[:5], north=Far())
    assert ran.of("failed") == [] and len(ran.of("round")) == ROUNDS
    assert all(len(event["sites"]) == 4 for event in ran.of("round"))


@pytest.mark.parametrize("task", [Task.UNMASK, Task.FINAL])
def test_a_hospital_that_is_restarted_goes_on(tmp_path: Path, task: Task) -> None:
    ran, made = whole(tmp_path, coast=Gated(restarts=frozenset({task})))
    assert ran.of("finished") and len(ran.of("opened")) == 1
    if task is Task.UNMASK:  # it has no model to compare in any round, and helps with the others' all the same
        late = [event["site"] for event in ran.of("dropped") if event["reason"] == LATE]
        assert late == ["coast"] * ROUNDS
        says = ("without the one that this process has sent", "not those that this process has checked")
        assert [reason for reason in made["coast"].refused if not any(one in reason for one in says)] == []
    else:
        assert made["coast"].refused == []


def test_a_job_of_groups_runs_to_its_end(tmp_path: Path) -> None:
    names = (*SITES, "zeist", "zug")
    tables = {
        "federation": FEDERATION | {"aggregation": "grouped-median", "min_sites": 9},
        "encryption": {"clipping_range": 8.0, "max_colluding": 1},
    }
    ran, made = whole(tmp_path, tables, names, north=Far())
    assert ran.of("failed") == [] and ran.of("finished")
    assert [one.refused for one in made.values()] == [[]] * len(names)
    assert [event["sites"] for event in ran.of("round")] == [sorted(names)] * ROUNDS
    for one in made.values():  # each opens the sums of all groups, and knows the model by all of them
        assert kinds(one.hospital).count(SUM) == ROUNDS * (3 + 1) + 2
    assert len(ran.of("opened")) == 1
