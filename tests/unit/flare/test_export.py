"""An exported job is data: no code travels, and every class it names may be built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fedward.errors import JobError
from fedward.flare.export import export_job, main
from fedward.flare.kits.permissions import CLASS_ALLOW_LIST
from fedward.settings import JobSpec, parse, read_job

JOBS = ("cxr_classification", "cxr_private", "lung_segmentation", "hippocampus_segmentation")


def paths(content: Any) -> list[str]:
    if isinstance(content, dict):
        here = [content["path"]] if isinstance(content.get("path"), str) else []
        return here + [path for value in content.values() for path in paths(value)]
    return [path for value in content for path in paths(value)] if isinstance(content, list) else []


def test_no_code_travels(tiny_job: JobSpec, tmp_path: Path) -> None:
    folder = export_job(tiny_job, tmp_path)
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    config = {f"app/config/{name}.json" for name in ("config_fed_server", "config_fed_client", "job")}
    assert files == {"meta.json"} | config


def test_every_class_is_on_the_allow_list(tiny_job: JobSpec, tmp_path: Path) -> None:
    folder = export_job(tiny_job, tmp_path)
    named = [path for file in folder.rglob("*.json") for path in paths(json.loads(file.read_text()))]
    assert len(named) == 3
    for path in named:
        assert path in CLASS_ALLOW_LIST


def test_what_travels_is_what_the_file_says(tiny_job: JobSpec, tmp_path: Path) -> None:
    folder = export_job(tiny_job, tmp_path)
    content = json.loads((folder / "app" / "config" / "job.json").read_text())
    assert parse(JobSpec, content, where="job.json") == tiny_job


def test_sites_are_deployed_to_by_name_or_all(tiny_job: JobSpec, tmp_path: Path) -> None:
    def deployed(**sites: Any) -> list[str]:
        meta = json.loads((export_job(tiny_job, tmp_path, **sites) / "meta.json").read_text())
        assert meta["min_clients"] == tiny_job.federation.min_sites
        found: list[str] = meta["deploy_map"]["app"]
        return found

    assert deployed() == ["@ALL"]
    assert deployed(sites=["south", "north"]) == ["north", "server", "south"]


def test_flare_is_told_which_sites_it_must_wait_for(tiny_job: JobSpec, tmp_path: Path) -> None:
    named = tiny_job.model_copy(
        update={"federation": tiny_job.federation.model_copy(update={"must_include": ("west", "north")})}
    )
    meta = json.loads((export_job(named, tmp_path) / "meta.json").read_text())
    assert (meta["mandatory_clients"], meta["min_clients"]) == (["west", "north"], named.federation.min_sites)
    assert json.loads((export_job(tiny_job, tmp_path) / "meta.json").read_text())["mandatory_clients"] == []
    with pytest.raises(JobError, match=r"would never start.*north, west"):
        export_job(named, tmp_path, sites=["south", "east"])
    export_job(named, tmp_path, sites=["south", "west", "north"])


def test_a_folder_that_is_no_job_is_left_alone(tiny_job: JobSpec, tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "thesis.txt").write_text("years of work")
    with pytest.raises(JobError, match="not an exported job"):
        export_job(tiny_job, tmp_path)
    assert (tmp_path / "tiny" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("name", JOBS)
def test_job_scripts_only_load_and_build(root: Path, name: str, tmp_path: Path) -> None:
    script = (root / "jobs" / name / "job.py").read_text()
    assert len(script.splitlines()) <= 40
    assert read_job(root / "jobs" / name).job.name == name
    assert main(root / "jobs" / name, ["--export", str(tmp_path)]) == 0
    assert (tmp_path / name / "meta.json").is_file()
