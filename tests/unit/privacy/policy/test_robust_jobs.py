"""Faults of masked jobs that bear false models or have a sparse graph: each remedy that names a number is enough."""

from __future__ import annotations

import re
from typing import Any

import pytest

from fedward.privacy.policy.linter import faults
from fedward.settings import JobSpec, parse
from tests.conftest import tiny_job_content


def job(federation: dict[str, Any], encryption: dict[str, Any] | None = None) -> JobSpec:
    content = tiny_job_content()
    content["federation"] |= {"weighting": "equal"} | federation
    content["encryption"] = {"max_sites": 256} | (encryption or {})
    return parse(JobSpec, content, where="job")


@pytest.mark.parametrize("aggregation", ["byzsecagg", "grouped-median"])
@pytest.mark.parametrize("malicious", [None, 1, 2, 3])
@pytest.mark.parametrize("colluding", [None, 1, 3])
@pytest.mark.parametrize("sites", [3, 5, 8])
def test_the_number_of_a_remedy_is_the_first_that_is_enough(
    aggregation: str, malicious: int | None, colluding: int | None, sites: int
) -> None:
    asked = {"aggregation": aggregation, "max_malicious": malicious}
    bound = {"max_colluding": colluding}
    found = [fault for fault in faults(job({**asked, "min_sites": sites}, bound)) if "needs" in fault]
    if not found:
        return
    (number,) = re.findall(r"; give (\d+) or more", found[0])
    assert faults(job({**asked, "min_sites": int(number)}, bound)) == []
    fewer = faults(job({**asked, "min_sites": int(number) - 1}, bound))
    assert any(aggregation in fault or "a sum needs" in fault for fault in fewer)


@pytest.mark.parametrize(("sites", "malicious"), [(9, 1), (15, 2), (12, None)])
def test_groups_need_no_bound_on_collusion_to_be_given(sites: int, malicious: int | None) -> None:
    asked = {"aggregation": "grouped-median", "min_sites": sites, "max_malicious": malicious}
    assert faults(job(asked)) == []


@pytest.mark.parametrize(("lost", "least"), [(0.0, 30), (0.05, 35), (0.1, 53)])
def test_a_sparse_graph_must_fit_every_number_of_hospitals(lost: float, least: int) -> None:
    """More than ``min_sites`` may come, and the graph is made for those that do."""
    sparse = {"graph": "ccesa", "max_lost": lost}
    assert faults(job({"min_sites": least}, sparse)) == []
    (fault,) = faults(job({"min_sites": least - 1}, sparse))
    assert f"min_sites {least} or more" in fault and ("max_lost" in fault) is (lost > 0)


@pytest.mark.parametrize(
    ("federation", "encryption", "where"),
    [
        ({"max_malicious": 1}, {}, "federation.max_malicious"),
        ({}, {"max_lost": 0.3}, "encryption.max_lost"),
        ({"aggregation": "byzsecagg", "must_include": ["north", "south"]}, {}, "federation.must_include"),
        ({"aggregation": "byzsecagg", "weighting": "patients"}, {}, "federation.weighting"),
        ({"aggregation": "grouped-median", "min_sites": 9}, {"scheme": "aes-ctr"}, "federation.aggregation"),
        ({"aggregation": "median"}, {}, "federation.aggregation"),
    ],
)
def test_a_setting_that_would_be_ignored_or_cannot_be_kept_is_a_fault(
    federation: dict[str, Any], encryption: dict[str, Any], where: str
) -> None:
    (fault,) = faults(job({"min_sites": 5} | federation, encryption))
    assert fault.startswith(f"{where}: ")
    assert "must_include" not in federation or "north, south" in fault
    assert federation.get("aggregation") != "median" or "'byzsecagg' or 'grouped-median'" in fault
