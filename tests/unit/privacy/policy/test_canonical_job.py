"""A job has one form: every other byte, name, folder and order of what reaches a server or a site is refused."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nvflare.apis.job_def import ALL_SITES as FLARE_ALL_SITES
from nvflare.apis.job_def import DEFAULT_STUDY, SERVER_SITE_NAME
from nvflare.apis.utils.format_check import name_check
from nvflare.lighter.tool_consts import NVFLARE_SIG_FILE, NVFLARE_SUBMITTER_CRT_FILE

from fedward.errors import JobError
from fedward.privacy.policy import canonical_job
from fedward.privacy.policy.canonical_job import (
    CERTIFICATE,
    META_FILE,
    SIGNATURE,
    UNKNOWN_FILE,
    app_files,
    is_study,
    job_files,
    require_app,
    require_job,
)
from fedward.privacy.policy.job_archive import Contents
from fedward.settings import JobSpec, parse, read_job
from tests.conftest import ROOT, tiny_job_content

JOBS = sorted(path.parent for path in (ROOT / "jobs").glob("*/job.toml"))
TINY = parse(JobSpec, tiny_job_content(), where="tiny")
FILES = job_files(TINY, sites=("north", "south"), study="chest")


def contents(files: dict[str, bytes], *folders: str) -> Contents:
    above = {"/".join(name.split("/")[:depth]) for name in files for depth in range(1, name.count("/") + 1)}
    return Contents(files, frozenset({*above, *folders}))


def refused(files: dict[str, bytes], *folders: str) -> str:
    with pytest.raises(JobError) as error:
        require_job(contents(files, *folders))
    return str(error.value)


@pytest.mark.parametrize("folder", JOBS, ids=lambda path: path.name)
@pytest.mark.parametrize("study", [None, "chest"])
@pytest.mark.parametrize("sites", [(), ("south", "north-2")])
def test_every_job_is_what_it_exports_to(folder: Path, study: str | None, sites: tuple[str, ...]) -> None:
    job = read_job(folder)
    found = require_job(contents(job_files(job, sites=sites, study=study)))
    assert (found.job, found.study, found.sites) == (job, study, tuple(sorted(sites)))
    app = require_app(contents(app_files(job, study=study)))
    assert (app.job, app.study) == (job, study)


def test_flares_signatures_may_lie_in_each_folder_and_nowhere_else() -> None:
    assert (SIGNATURE, CERTIFICATE) == (NVFLARE_SIG_FILE, NVFLARE_SUBMITTER_CRT_FILE)
    signed = {f"{place}{name}": b"x" for place in ("", "app/", "app/config/") for name in (SIGNATURE, CERTIFICATE)}
    require_job(contents(FILES | signed))
    assert UNKNOWN_FILE in refused(FILES | {f"app/custom/{SIGNATURE}": b"x"})


def test_flares_names_are_those_of_the_release_that_runs() -> None:
    assert (canonical_job.ALL_SITES, canonical_job.NO_STUDY, canonical_job.SERVER) == (
        FLARE_ALL_SITES,
        DEFAULT_STUDY,
        SERVER_SITE_NAME,
    )


@given(st.text(alphabet=string.ascii_lowercase + string.digits + "-_AZ .é\n", max_size=66))
def test_a_study_is_what_flare_takes_for_one(name: str) -> None:
    flare = not name_check(name, "study")[0] and name != DEFAULT_STUDY and not name.endswith("\n")
    assert is_study(name) == flare


def require_refused_or_elsewhere(name: str, changed: bytes) -> None:
    """Every change is refused but one: the same job in the same study, deployed to sites of other names."""
    try:
        found = require_job(contents(FILES | {name: changed}))
    except JobError:
        return
    assert name == META_FILE
    assert (found.job, found.study) == (TINY, "chest")
    assert found.sites != ("north", "south")


@given(st.sampled_from(sorted(FILES)), st.data())
def test_any_byte_that_is_changed_is_refused(name: str, data: st.DataObject) -> None:
    content = FILES[name]
    at, bit = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 7))
    changed = bytearray(content)
    changed[at] ^= 1 << bit
    require_refused_or_elsewhere(name, bytes(changed))


@given(st.sampled_from(sorted(FILES)), st.binary(max_size=40), st.integers(0, 10_000))
def test_anything_that_is_put_in_is_refused(name: str, more: bytes, place: int) -> None:
    content = FILES[name]
    at = place % (len(content) + 1)
    changed = content[:at] + more + content[at:]
    if changed != content:
        require_refused_or_elsewhere(name, changed)


NAME = st.text(alphabet=string.printable, min_size=1, max_size=30).filter(lambda name: "/" not in name)


@given(st.sampled_from(["", "app/", "app/config/", "app/custom/", "other/"]), NAME)
def test_a_file_that_a_job_does_not_have_is_refused_without_its_name(place: str, name: str) -> None:
    if f"{place}{name}" not in FILES and name not in (SIGNATURE, CERTIFICATE):
        said = refused(FILES | {f"{place}{name}": b"{}"})
        assert said.startswith(UNKNOWN_FILE)


TWINS = (
    *("config_fed_client.conf", "config_fed_client.yml", "config_fed_client.yaml", "config_fed_client.json.default"),
    *(
        "config_fed_server.conf",
        "config_fed_server.json.default",
        "config_fed_server.pyhocon",
        "CONFIG_FED_CLIENT.JSON",
    ),
    *("application.conf", "comm_config.json", "log_config.json", "job.conf", "job.json.default", "study.conf"),
    *("meta.conf", "resources.json", "environment.json", "privacy.json"),
)


@pytest.mark.parametrize("place", ["", "app/", "app/config/"])
@pytest.mark.parametrize("twin", TWINS)
def test_a_twin_that_flares_loader_would_read_is_refused(place: str, twin: str) -> None:
    url = b'include url("http://127.0.0.1:1/x.conf")\n${HOME}\n'
    assert refused(FILES | {f"{place}{twin}": url}).startswith(UNKNOWN_FILE)


@pytest.mark.parametrize("name", sorted(set(FILES) - {"app/config/study.json"}))
def test_a_file_that_is_missing_is_named(name: str) -> None:
    said = refused({path: content for path, content in FILES.items() if path != name})
    assert said.startswith(name)


def test_a_study_that_is_taken_away_no_longer_fits_what_is_said_beside() -> None:
    said = refused({path: content for path, content in FILES.items() if path != "app/config/study.json"})
    assert said.startswith("meta.json")


@pytest.mark.parametrize("name", sorted(FILES))
@pytest.mark.parametrize("way", ["spaced", "reordered", "windows", "no end", "marked", "twice", "utf-16"])
def test_the_same_json_in_another_writing_is_refused(name: str, way: str) -> None:
    content = json.loads(FILES[name])
    pairs = list(content.items())
    written = {
        "spaced": json.dumps(content, indent=1) + "\n",
        "reordered": json.dumps(dict(reversed(pairs)), indent=2) + "\n",
        "windows": FILES[name].decode().replace("\n", "\r\n"),
        "no end": FILES[name].decode().rstrip("\n"),
        "marked": "\ufeff" + FILES[name].decode(),
        "twice": FILES[name].decode().replace("{", '{"' + pairs[0][0] + '": 1,', 1),
        "utf-16": FILES[name].decode(),
    }[way]
    encoded = written.encode("utf-16" if way == "utf-16" else "utf-8")
    if encoded != FILES[name]:  # a file of one key has one order
        assert refused(FILES | {name: encoded}).startswith(name)


@pytest.mark.parametrize("folder", ["app/custom", "app/config/more", "more", "app/config/job.json.d"])
def test_an_empty_folder_is_refused(folder: str) -> None:
    assert refused(FILES, folder).startswith(UNKNOWN_FILE)


MAPS: list[Any] = [
    *(None, {}, {"app": []}, {"app": ["server"]}, {"app": ["north", "server", "south"], "more": ["north"]}),
    *(
        {"other": ["@ALL"]},
        {"app": "@ALL"},
        {"app": ["@all"]},
        {"app": ["@ALL", "north"]},
        {"app": {"sites": ["north"]}},
    ),
    *({"app": ["south", "north", "server"]}, {"app": ["north", "north", "server"]}, {"app": ["north"]}),
    *({"app": ["../north", "server"]}, {"app": [1, "server"]}, {"app": [{"sites": ["north"]}, "server"]}),
]


@pytest.mark.parametrize("deploy_map", MAPS)
def test_a_job_goes_to_sites_in_one_way_of_writing(deploy_map: Any) -> None:
    meta = json.loads(FILES["meta.json"]) | {"deploy_map": deploy_map}
    assert refused(FILES | {"meta.json": (json.dumps(meta, indent=2) + "\n").encode()}).startswith("meta.json")


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"1", b"[" * 100_000, b'{"study": "default"}', b'{"study": 1}', b"\xff"]
)
@pytest.mark.parametrize("name", sorted(FILES))
def test_what_is_no_table_is_refused(name: str, content: bytes) -> None:
    assert refused(FILES | {name: content}).startswith(name)


def test_a_refusal_tells_nothing_of_what_was_found() -> None:
    job = json.loads(FILES["app/config/job.json"])
    job["job"]["description"] = "DOE-JANE"
    said = refused(FILES | {"app/config/job.json": (json.dumps(job) + "\n").encode()})
    assert "DOE" not in said
