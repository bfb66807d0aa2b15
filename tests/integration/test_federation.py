"""A real federation: four FLARE processes from real kits over mutual TLS, and the jobs that they run and refuse."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from tests.conftest import tiny_job_content
from tests.integration.conftest import Running

from fedward.aggregation.fedavg import weighted_mean
from fedward.demo.compare import load_model
from fedward.errors import JobError
from fedward.flare.job import export_job
from fedward.flare.protocol import EVENTS_FILE, MODEL_FILE
from fedward.metrics.events import EventReader
from fedward.settings import JobSpec, parse

pytestmark = pytest.mark.integration


def named(name: str, **changes: Any) -> JobSpec:
    content = tiny_job_content()
    content["job"]["name"] = name
    for section, values in changes.items():
        content[section] |= values
    return parse(JobSpec, content, where=name)


def nvflare(*words: str) -> dict[str, Any]:
    """FLARE's own command line, as a data scientist types it."""
    command = [str(Path(sys.executable).parent / "nvflare"), *words, "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def run(running: Running, job: JobSpec, out: Path) -> tuple[str, list[dict[str, Any]], Path]:
    job_id = running.session.submit(export_job(job, out))
    status = running.session.wait(job_id, each=running.federation.check)
    result = running.session.download(job_id, out / "results")
    return status, list(EventReader(result / EVENTS_FILE)), result


def of(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == kind]


def test_the_exported_job_runs_when_flares_own_command_submits_it(running: Running, tmp_path: Path) -> None:
    job = named("tiny")
    kit = str(next(iter(running.kits.people.values())))
    exported = export_job(job, tmp_path)
    submitted = nvflare("job", "submit", "-j", str(exported), "--startup-kit", kit)
    job_id = submitted["data"]["job_id"]
    assert running.session.wait(job_id, each=running.federation.check) == "FINISHED:COMPLETED"
    result = running.session.download(job_id, tmp_path / "results")
    events = list(EventReader(result / EVENTS_FILE))

    sites = set(running.kits.sites)
    assert {event["site"] for event in of(events, "admitted")} == sites
    rounds = of(events, "round")
    assert [event["round"] for event in rounds] == [0, 1]
    assert all(set(event["sites"]) == sites for event in rounds)
    answers = of(events, "answered")
    for task in ("round", "final", "alone"):
        assert {event["site"] for event in answers if event["task"] == task} == sites
    for event in answers:
        assert "scores" in event["metrics"]

    model = load_model(result / MODEL_FILE)
    assert all(np.isfinite(array).all() for array in model.values())
    # nothing but the model, events and FLARE's own files came back: no cohort, no local model
    names = {path.name for path in result.rglob("*")}
    assert not names & {"manifest.jsonl", "local_only.npz", "site.toml"}


def test_the_federation_computes_what_its_parts_compute_alone(running: Running, tmp_path: Path) -> None:
    """The model that comes out of real processes over a network is, bit for bit, the one that a loop computes."""
    from fedward.training.networks import initial_weights
    from fedward.training.trainer import Trainer
    from fedward.training.weights import add, difference

    job = named("exact", federation={"local_only": False})
    status, _, result = run(running, job, tmp_path)
    assert status == "FINISHED:COMPLETED"
    trainers = {s: Trainer(job, [hospital.manifest], site=s) for s, hospital in running.hospitals.items()}
    weights = initial_weights(job)
    for number in range(job.federation.rounds):
        trained = {site: trainer.train(weights, round_number=number) for site, trainer in trainers.items()}
        updates = {
            site: (difference(one.weights, weights), float(one.patients)) for site, one in reversed(trained.items())
        }
        weights = add(weights, weighted_mean(updates))
    model = load_model(result / MODEL_FILE)
    assert set(model) == set(weights)
    for name, array in weights.items():
        np.testing.assert_array_equal(model[name], array)


def test_a_job_that_carries_code_is_refused(running: Running, tmp_path: Path) -> None:
    exported = export_job(named("code"), tmp_path)
    (exported / "app" / "custom").mkdir()
    (exported / "app" / "custom" / "mine.py").write_text("print('I should not be here')\n")
    with pytest.raises(JobError, match=r"refuses|BYOC|byoc|not authorized"):
        status = running.session.wait(running.session.submit(exported), each=running.federation.check)
        raise JobError(f"server refuses the job, {status}")
    consoles = [kit / "console.log" for kit in [running.kits.server, *running.kits.sites.values()]]
    assert not any("I should not be here" in console.read_text() for console in consoles)


def test_a_job_that_names_another_class_trains_nowhere(running: Running, tmp_path: Path) -> None:
    exported = export_job(named("class"), tmp_path)
    config = exported / "app" / "config" / "config_fed_client.json"
    content = json.loads(config.read_text())
    content["executors"][0]["executor"] = {"path": "nvflare.app_common.np.np_trainer.NPTrainer", "args": {}}
    config.write_text(json.dumps(content))
    job_id = running.session.submit(exported)
    assert running.session.wait(job_id, each=running.federation.check) != "FINISHED:COMPLETED"


def test_a_hospital_without_the_label_takes_no_part_and_says_why(running: Running, tmp_path: Path) -> None:
    """One hospital's cohort is replaced by one without the label; the others go on without it."""
    site, *others = sorted(running.hospitals)
    policy = running.kits.sites[site] / "local" / "site.toml"
    before = policy.read_text()
    without = tmp_path / "without"
    shutil.copytree(Path(running.hospitals[site].config).parent / "index", without)
    _drop_labels(without)
    policy.write_text(before.replace(str(Path(running.hospitals[site].config).parent / "index"), str(without)))
    try:
        status, events, _ = run(running, named("partial", federation={"rounds": 1, "local_only": False}), tmp_path)
    finally:
        policy.write_text(before)
    assert status == "FINISHED:COMPLETED"
    declined = of(events, "declined")
    assert [event["site"] for event in declined] == [site]
    assert "lesion" in declined[0]["reason"]
    assert "24" in declined[0]["reason"]
    assert of(events, "round")[0]["sites"] == others


def test_too_few_sites_end_the_job_with_the_reason(running: Running, tmp_path: Path) -> None:
    status, events, _ = run(running, named("nobody", data={"cohort": "brains"}), tmp_path)
    assert status != "FINISHED:COMPLETED"
    assert {event["site"] for event in of(events, "declined")} == set(running.kits.sites)
    assert all("brains" in event["reason"] for event in of(events, "declined"))
    assert "min_sites" in of(events, "failed")[0]["reason"]


def test_nobody_listens_beyond_loopback(running: Running) -> None:
    for process in running.federation.processes():
        for connection in process.net_connections(kind="inet"):
            if connection.status == psutil.CONN_LISTEN:
                assert connection.laddr.ip in ("127.0.0.1", "::ffff:127.0.0.1", "::1")


def test_the_server_takes_no_connection_without_a_certificate(running: Running) -> None:
    anyone = ssl.create_default_context(cafile=str(running.kits.server / "startup" / "rootCA.pem"))
    with (
        pytest.raises((ssl.SSLError, ConnectionError)),
        socket.create_connection((running.spec.server.host, running.spec.server.port), timeout=10) as plain,
        anyone.wrap_socket(plain, server_hostname="localhost") as wrapped,
    ):
        wrapped.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert wrapped.recv(1) == b"", "TLS 1.3 tells of the refusal on the first read"
        raise ConnectionError("closed")


def test_a_killed_site_does_not_take_the_round_with_it(running: Running, tmp_path: Path) -> None:
    """The last test of this file: one hospital's job process dies while it trains; the others finish the job."""
    job = named(
        "killed",
        federation={"rounds": 3, "grace_s": 2.0, "local_only": False},
        training={"local_epochs": None, "local_steps": 60},
    )
    job_id = running.session.submit(export_job(job, tmp_path))
    site = sorted(running.kits.sites)[0]
    progress = EventReader(running.kits.sites[site] / job_id / EVENTS_FILE)
    killed: list[int] = []

    def kill_once() -> None:
        running.federation.check()
        if not killed and any(event["event"] == "progress" for event in progress):
            for process in running.federation.processes():
                command = process.cmdline()
                if job_id in command and any(str(running.kits.sites[site]) in word for word in command):
                    process.kill()
                    killed.append(process.pid)

    start = time.monotonic()
    status = running.session.wait(job_id, each=kill_once)
    events = list(EventReader(running.session.download(job_id, tmp_path / "results") / EVENTS_FILE))
    assert killed
    assert status == "FINISHED:COMPLETED"
    assert [event["round"] for event in of(events, "round")] == [0, 1, 2]
    assert site in {event["site"] for event in of(events, "dropped")}
    assert site not in of(events, "round")[-1]["sites"]
    assert time.monotonic() - start < 120


def _drop_labels(folder: Path) -> None:
    from dataclasses import replace

    from fedward.dataset.manifest import read_manifest, write_manifest

    manifest = read_manifest(folder)
    write_manifest(replace(manifest, rows=tuple(replace(row, labels={}) for row in manifest.rows)), folder)
