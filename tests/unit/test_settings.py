"""Settings: frozen, nothing unknown, every fault one line with file, key and remedy."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.errors import SettingsError
from fedward.settings import (
    FederationSpec,
    JobSpec,
    SitePolicy,
    parse,
    plain,
    read_federation,
    read_job,
    read_site,
)
from tests.conftest import OPEN_COHORT_TOML, OPEN_SITE, OPEN_SITE_TOML, tiny_job_content


def changed(path: str, value: Any) -> dict[str, Any]:
    content = copy.deepcopy(tiny_job_content())
    *parents, last = path.split(".")
    place = content
    for name in parents:
        place = place.setdefault(name, {})
    place[last] = value
    return content


def test_plain_is_the_inverse_of_parse(tiny_job: JobSpec) -> None:
    assert parse(JobSpec, plain(tiny_job), where="again") == tiny_job
    content = changed("acceptance", {"threshold": 0.8})
    content["federation"] |= {"must_include": ["north", "city"], "min_patients": 40}
    covered = parse(JobSpec, content, where="covered")
    assert parse(JobSpec, plain(covered), where="again") == covered


def test_a_job_that_was_exported_before_there_was_a_coverage_policy_still_parses(tiny_job: JobSpec) -> None:
    content = plain(tiny_job)
    del content["acceptance"], content["federation"]["must_include"], content["federation"]["min_patients"]
    assert parse(JobSpec, content, where="old") == tiny_job


@pytest.mark.parametrize(
    ("path", "value", "word"),
    [
        ("job.task", "detection", "task"),
        ("job.name", "../up", "name"),
        ("training.lr", 0.0, "lr"),
        ("training.lr", float("nan"), "lr"),
        ("training.local_steps", 5, "local_epochs and local_steps"),
        ("training.surprise", 1, "surprise"),
        ("data.size", [24, 0], "size"),
        ("data.structures", ["Lung"], "structures"),
        ("data.labels", [], "labels"),
        ("data.target", "multilabel", "multilabel"),
        ("data.target", "multiclass", "classes"),
        ("federation.rounds", 0, "rounds"),
        ("federation.must_include", ["north", "city", "north"], "twice: north"),
        ("federation.must_include", ["North"], "must_include"),
        ("federation.min_patients", 0, "min_patients"),
        ("acceptance", {}, "threshold"),
        ("acceptance.threshold", 1.5, "threshold"),
        ("model.batch_norm", "maybe", "batch_norm"),
        ("federation.aggregation", "mode", "aggregation"),
        ("federation.server_lr", 0.0, "server_lr"),
        ("encryption", {"max_sites": 2}, "max_sites"),
        ("encryption", {"largest": 0.0}, "largest"),
        ("encryption", {"max_patients": 0}, "max_patients"),
        ("encryption", {"scheme": "aes-ctr"}, "scheme"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_it(path: str, value: Any, word: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(JobSpec, changed(path, value), where="job.toml")
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith("job.toml: ")
    assert word in line
    assert "correct the file" in line


@given(st.dictionaries(st.text(max_size=8), st.one_of(st.none(), st.integers(), st.text(max_size=5)), max_size=5))
def test_whatever_the_content_the_answer_is_a_spec_or_one_line(content: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(JobSpec, content, where="x")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("site", ["North", "north_clinic", "-north", "north--clinic", "9north", "", "a b", "x" * 49])
def test_a_site_id_is_lower_case_kebab(site: str) -> None:
    with pytest.raises(SettingsError, match="site"):
        parse(SitePolicy, {"site": site, "key": "k", "cohorts": {}, **OPEN_SITE}, where="site.toml")


def test_site_paths_start_at_the_file(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text(
        f'site = "north"\nkey = "site.key"\n{OPEN_SITE_TOML}[cohorts.chest]\nimages = "dicom"\nindex = "/var/index"\n'
        f"max_quarantined_fraction = 0.1\nvalidation_fraction = 0.2\n{OPEN_COHORT_TOML}"
    )
    policy = read_site(file)
    assert policy.key == tmp_path / "site.key"
    assert policy.federation_key is None
    file.write_text('federation_key = "federation.key"\n' + file.read_text())
    assert read_site(file).federation_key == tmp_path / "federation.key"
    assert policy.cohorts["chest"].images == tmp_path / "dicom"
    assert policy.cohorts["chest"].index == Path("/var/index")
    assert policy.cohorts["chest"].labels is None


def test_no_default_for_a_tolerance(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text(
        'site = "north"\nkey = "k"\n[cohorts.chest]\nimages = "a"\nindex = "b"\nvalidation_fraction = 0.2\n'
    )
    with pytest.raises(SettingsError, match="max_quarantined_fraction"):
        read_site(file)


def test_outputs(tiny_job: JobSpec) -> None:
    assert tiny_job.outputs == 1
    multi = changed("data", {"cohort": "c", "size": [8, 8], "target": "multilabel", "labels": ["a", "b", "c"]})
    assert parse(JobSpec, multi, where="x").outputs == 3
    segmentation = changed("data", {"cohort": "c", "size": [8, 8], "structures": ["Lung"]})
    segmentation["job"]["task"] = "segmentation"
    assert parse(JobSpec, segmentation, where="x").outputs == 2


def test_hospitals_and_people_are_listed_once(root: Path) -> None:
    content = plain(read_federation(root / "provisioning" / "federation.yml"))
    content["hospitals"].append(content["hospitals"][0])
    with pytest.raises(SettingsError, match="listed twice"):
        parse(FederationSpec, content, where="federation.yml")


@pytest.mark.parametrize("text", [b"name = [", b"\xff\xfe"])
def test_a_file_that_is_not_toml(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "job.toml").write_bytes(text)
    with pytest.raises(SettingsError, match=r"not (TOML|UTF-8)"):
        read_job(tmp_path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        read_job(tmp_path)


@pytest.mark.parametrize("text", ["[1, 2]", "name: [", ""])
def test_a_federation_that_is_not_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "f.yml").write_text(text)
    with pytest.raises(SettingsError):
        read_federation(tmp_path / "f.yml")
