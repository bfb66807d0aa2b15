"""The job that docs/from-flower.md has in place of a Flower app, as it stands there."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from fedward.dataset.manifest import Manifest
from fedward.demo.simulate import run_rounds, take_part, trainers
from fedward.settings import JobPrivacy, JobSpec, Rounds, parse
from fedward.training.check import job_faults
from fedward.training.networks import initial_weights
from fedward.weights import difference


@pytest.fixture
def page(root: Path) -> str:
    return (root / "docs" / "from-flower.md").read_text(encoding="utf-8")


def test_the_example_trains_and_scores_at_each_hospital(page: str, make_cohort: Callable[..., Manifest]) -> None:
    """Its first round is FedAvg as Flower has it: the mean by examples, here of patients."""
    (text,) = re.findall(r"^```toml\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    job = parse(JobSpec, tomllib.loads(text), where="docs/from-flower.md")
    assert job_faults(job) == []
    cohorts = {
        site: make_cohort(
            patients,
            site=site,
            seed=number,
            held_out=2,
            labels={"pneumonia": ["01"[patient % 2] for patient in range(patients)]},
        )
        for number, (site, patients) in enumerate({"north": 12, "south": 20}.items())
    }
    parts, aside = take_part(job, cohorts)
    assert set(parts) == {"north", "south"} and not aside
    sites, updates = trainers(job, parts), []
    weights, rounds = run_rounds(job, sites, on_updates=updates.append)
    assert len(rounds) == job.federation.rounds == 3
    start, counts = initial_weights(job), {site: part.patients for site, part in parts.items()}
    assert {site: count for site, (_, count) in updates[0].items()} == counts
    for name, array in difference(rounds[0], start).items():
        mean = sum(count * updates[0][site][0][name].astype(float) for site, count in counts.items())
        np.testing.assert_allclose(array, mean / sum(counts.values()), atol=1e-6)
    for site, trainer in sites.items():
        scores = trainer.validate(weights).plain()
        assert 0.0 <= scores["auc"] <= 1.0 and not math.isnan(scores["auc"]), site
        assert trainer.support.validation_patients > 0


def test_every_setting_that_the_table_names_is_one(page: str) -> None:
    table = page.partition("## Where each part is")[2]
    aggregations = get_args(Rounds.model_fields["aggregation"].annotation)
    for named in ("mean", "fedadam", "median", "byzsecagg", "grouped-median"):
        assert f'"{named}"' in table and named in aggregations
    mechanisms = get_args(JobPrivacy.model_fields["mechanism"].annotation)
    for named in re.findall(r'mechanism = "([a-z-]+)"', table):
        assert named in mechanisms
    for named in ("min_sites", "must_include", "round_timeout_s", "stragglers"):
        assert f"`{named}`" in table and named in Rounds.model_fields
