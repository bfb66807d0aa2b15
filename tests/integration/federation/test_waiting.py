"""A job waits at a real server for a hospital that it must include, and who submits it is told so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from fedward.demo.federate import federation_of
from fedward.demo.hospitals import DemoHospital
from fedward.flare.job_context import SITE_FILE
from fedward.flare.kits.central import Kits, provision
from fedward.flare.local_federation import LocalFederation, free_port
from fedward.metrics import queries
from fedward.metrics.store import STORE_FILE, Store
from fedward.settings import FederationSpec

pytestmark = pytest.mark.integration

JOB = """
[job]
name = "tiny"
task = "classification"
[federation]
rounds = 2
min_sites = 2
must_include = ["{late}"]
round_timeout_s = 120.0
grace_s = 60.0
local_baseline = false
[data]
cohort = "chest"
labels = ["lesion"]
target = "binary"
size = [24, 24]
[model]
network = "DenseNet"
args = {{ init_features = 8, growth_rate = 4, block_config = [2, 2], bn_size = 2 }}
[training]
loss = {{ name = "BCEWithLogitsLoss" }}
optimizer = "AdamW"
lr = 0.003
batch_size = 8
local_epochs = 1
threads = 1
[privacy]
mechanism = "none"
"""


class WithoutOne(LocalFederation):
    """A federation of which one site is not started."""

    def __init__(self, spec: FederationSpec, kits: Kits, *, late: str) -> None:
        super().__init__(spec, kits, threads=1)
        self._late = late

    def __enter__(self) -> Self:
        self.start("server", self._kits.server)
        self._await_server()
        for site, kit in self._kits.sites.items():
            if site != self._late:
                self.start(site, kit)
        return self


def typed(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from fedward.cli import main; main()", "job", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))


def lines(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stderr is not None
    for line in process.stderr:
        yield line.rstrip()


def test_a_job_waits_for_a_hospital_that_it_must_include(hospitals: list[DemoHospital], tmp_path: Path) -> None:
    spec = federation_of([hospital.site for hospital in hospitals], port=free_port())
    kits = provision(spec, tmp_path / "federation")
    for hospital in hospitals:
        (kits.sites[hospital.site] / "local" / SITE_FILE).write_bytes(hospital.config.read_bytes())
    late, person = hospitals[-1].site, str(next(iter(kits.people.values())))
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "job.toml").write_text(JOB.format(late=late))
    out = str(tmp_path / "out")
    with WithoutOne(spec, kits, late=late) as federation:
        with typed("submit", str(tmp_path / "job"), "--kit", person, "--out", out, "--wait") as submitting:
            assert submitting.stdout is not None
            job_id = submitting.stdout.readline().strip()
            waited = 0
            for line in lines(submitting):
                waited += line.startswith("waiting: ") and line.endswith(f"missing {late}")
                if waited == 4:  # FLARE's own scheduler had failed the job 15 s after this
                    submitting.send_signal(signal.SIGINT)
                    break
            rest = list(lines(submitting))
        assert submitting.returncode == 130
        assert any(f"fedward job wait {job_id} --kit {person}" in line for line in rest)

        federation.start(late, kits.sites[late])
        with typed("wait", job_id, "--kit", person, "--out", out, "--format", "json") as following:
            assert following.stdout is not None
            said, answer = list(lines(following)), json.loads(following.stdout.read())
        assert following.returncode == 0, said
    assert any(line.startswith("running, round ") for line in said)
    assert said[-1].startswith("success: every round counted (")
    assert (answer["status"], answer["state"], answer["end"]) == (
        "FINISHED:COMPLETED",
        "finished",
        "success: every round counted",
    )
    with Store.open(kits.server / STORE_FILE) as store, store.turn() as connection:
        job = queries.job(connection, job_id)
        assert job is not None and job.state == "finished"
