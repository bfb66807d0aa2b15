"""Plant causes in a hospital's files and check that the diagnosis finds them from what the hospital sends.

Five hospitals of one kind, as DICOM: the same scanner, prevalence and number of patients. A model is trained on all
five, and each cause is planted in the first one's files before they are indexed. Profile, support and score come from
the real trainer and leave through the real release, with a floor of five. Swapped labels are also trained on; for the
other causes the model of the five clean hospitals serves, because their evidence does not come from the model.
It ranks the other scanner's images and the other prevalence's nearly as well: there the diagnosis is asked for without
a flag.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedward.dataset.manifest import Manifest
from fedward.demo.simulate import run_rounds, take_part, trainers
from fedward.dicom.synthetic.hospital import HOSPITALS, SyntheticHospital, write_cohort
from fedward.settings import Disclosure, JobSpec, parse
from fedward.training.trainer import Trainer
from fedward.validation.comparison.diagnosis import NOTABLE, diagnose
from fedward.validation.comparison.sites import SiteValue, compare_sites
from fedward.weights import Weights
from tests.conftest import tiny_job_content
from tests.integration.conftest import index_all
from tests.support.disclosure import release
from tests.support.rehearsal import rehearsal

pytestmark = [pytest.mark.integration, rehearsal("trains hospitals with planted causes")]

ALIKE = replace(
    HOSPITALS[0],
    conspicuity=1.7,
    images=240,
    paired=0.0,
    prevalence=0.45,
    marked=(0.3, 0.3),
    device=(0.2, 0.2),
    faults=(),
)
SITES = tuple(f"hospital-{letter}" for letter in "abcde")
ODD = SITES[0]
UNTOUCHED = NOTABLE / 2
"""Above this no untouched site may have a finding."""
DISCLOSURE = Disclosure(metrics=("scores", "support", "profile"), decimals=4, min_count=5)


def job_content() -> dict[str, Any]:
    content = tiny_job_content()
    content["federation"]["rounds"] = 5
    content["training"]["lr"] = 0.01
    content["data"]["size"] = [32, 32]
    return content


JOB = parse(JobSpec, job_content(), where="planted")


@dataclass(frozen=True)
class Told:
    """Metrics that a hospital sent."""

    profile: Mapping[str, Any]
    support: Mapping[str, Any]
    scores: Mapping[str, Any]


def tell(trainer: Trainer, weights: Weights) -> Told:
    scores = trainer.validate(weights).plain()
    everything = {"scores": scores, "support": trainer.support.plain(), **trainer.details(["profile"])}
    sent = release(everything, DISCLOSURE, private=False, names=JOB.names)
    return Told(profile=sent["profile"], support=sent["support"], scores=sent["scores"])


def made(
    folder: Path, *hospitals: SyntheticHospital, change: Callable[[Path], None] | None = None
) -> dict[str, Manifest]:
    """Write hospitals, change the first one's label table, index."""
    write_cohort(folder / "data", label="lesion", masks=False, hospitals=hospitals)
    if change is not None:
        change(folder / "data" / hospitals[0].site / "labels.csv")
    return {one.site: one.manifest for one in index_all(folder / "data", folder / "sites", JOB)}


def swap_a_fifth(table: Path) -> None:
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for number in np.random.default_rng(0).permutation(len(rows))[: len(rows) // 5]:
        rows[number]["lesion"] = "0" if rows[number]["lesion"] == "1" else "1"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@dataclass(frozen=True)
class Clean:
    """The five alike, the model trained on them, and what each sent."""

    cohorts: dict[str, Manifest]
    weights: Weights
    told: dict[str, Told]


def train(cohorts: dict[str, Manifest]) -> Clean:
    parts, _ = take_part(JOB, cohorts)
    sites = trainers(JOB, parts)
    weights, _ = run_rounds(JOB, sites)
    return Clean(cohorts, weights, {site: tell(trainer, weights) for site, trainer in sites.items()})


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Clean:
    folder = tmp_path_factory.mktemp("clean")
    return train(made(folder, *(replace(ALIKE, site=site) for site in SITES)))


def with_odd(clean: Clean, folder: Path, hospital: SyntheticHospital) -> dict[str, Told]:
    """Return the metrics of the five when the first is another hospital, scored by the model of the clean five."""
    cohorts = made(folder, replace(hospital, site=ODD))
    parts, aside = take_part(JOB, cohorts)
    assert not aside
    return {**clean.told, ODD: tell(trainers(JOB, parts)[ODD], clean.weights)}


def found(told: Mapping[str, Told], site: str) -> list[tuple[str, float]]:
    profiles, supports = ({name: getattr(one, part) for name, one in told.items()} for part in ("profile", "support"))
    return [(one.cause, one.strength) for one in diagnose(site, profiles, supports)]


def assert_first(told: Mapping[str, Told], cause: str, *, at_least: float) -> None:
    findings = found(told, ODD)
    assert findings[0][0] == cause, findings
    assert findings[0][1] >= at_least, findings
    assert findings[1][1] < UNTOUCHED, findings
    for site in SITES[1:]:
        assert found(told, site)[0][1] < UNTOUCHED, (site, found(told, site))


def flagged(told: Mapping[str, Told]) -> list[str]:
    values = [
        SiteValue(site, one.scores["auc"], one.scores["auc_low"], one.scores["auc_high"], time.time())
        for site, one in told.items()
    ]
    return [site for site, standing in compare_sites(values, now=time.time()).items() if standing.flagged]


def test_hospitals_alike_have_no_finding(clean: Clean) -> None:
    assert min(one.scores["auc"] for one in clean.told.values()) > 0.9
    for site in SITES:
        assert found(clean.told, site)[0][1] < UNTOUCHED, (site, found(clean.told, site))
    assert flagged(clean.told) == []


def test_a_fifth_of_the_labels_swapped(clean: Clean, tmp_path: Path) -> None:
    odd = made(tmp_path, replace(ALIKE, site=ODD), change=swap_a_fifth)
    told = train({**clean.cohorts, **odd}).told
    assert flagged(told) == [ODD]
    assert_first(told, "label-noise", at_least=NOTABLE)
    assert told[ODD].profile["label_noise"] == pytest.approx(0.2, abs=0.08)


def test_a_few_patients(clean: Clean, tmp_path: Path) -> None:
    assert_first(with_odd(clean, tmp_path, replace(ALIKE, images=30)), "few-patients", at_least=NOTABLE)


def test_another_scanner(clean: Clean, tmp_path: Path) -> None:
    scanner = replace(ALIKE.scanner, gamma=2.2, noise=0.06)
    assert_first(with_odd(clean, tmp_path, replace(ALIKE, scanner=scanner)), "covariate-shift", at_least=NOTABLE)


def test_another_prevalence(clean: Clean, tmp_path: Path) -> None:
    assert_first(with_odd(clean, tmp_path, replace(ALIKE, prevalence=0.12)), "population-shift", at_least=NOTABLE)
