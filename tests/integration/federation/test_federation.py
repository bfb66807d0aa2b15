"""A real federation: four FLARE processes from real kits over mutual TLS, and the jobs that they run and refuse."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from nvflare.fuel.flare_api.api_spec import InvalidJobDefinition

from fedward.aggregation.fedavg import weighted_mean
from fedward.audit.note import own_account
from fedward.audit.place import log_at
from fedward.audit.verify import entries, verify
from fedward.demo.compare import load_model
from fedward.errors import JobError
from fedward.flare.export import export_job
from fedward.flare.refusal import SENTENCES, Code
from fedward.metrics.events import EVENTS_FILE, EventReader
from fedward.settings import JobSpec, parse
from fedward.training.networks import initial_weights
from fedward.training.trainer import Trainer
from fedward.weights import MODEL_FILE, Weights, add, difference
from tests.conftest import tiny_job_content
from tests.integration.conftest import Running, send

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


def in_a_loop(running: Running, job: JobSpec) -> Weights:
    trainers = {s: Trainer(job, [hospital.manifest], site=s) for s, hospital in running.hospitals.items()}
    weights = initial_weights(job)
    for number in range(job.federation.rounds):
        updates = {}
        for site, trainer in reversed(trainers.items()):
            trained = trainer.train(weights, round_number=number)
            updates[site] = (difference(trained.weights, weights), float(trained.patients))
        weights = add(weights, weighted_mean(updates))
    return weights


def of(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == kind]


def test_flares_own_command_submits_the_exported_job_and_the_result_is_what_a_loop_computes(
    running: Running, tmp_path: Path
) -> None:
    """Real processes over a network compute, bit for bit, what their parts compute alone in a loop."""
    job = named("tiny")
    kit = str(next(iter(running.kits.people.values())))
    submitted = nvflare("job", "submit", "-j", str(export_job(job, tmp_path)), "--startup-kit", kit)
    job_id = submitted["data"]["job_id"]
    assert running.session.wait(job_id, each=running.federation.check) == "FINISHED:COMPLETED"
    result = running.session.download(job_id, tmp_path / "results")
    events = list(EventReader(result / EVENTS_FILE))

    sites = set(running.kits.sites)
    assert {event["site"] for event in of(events, "admitted")} == sites
    assert [(event["round"], set(event["sites"])) for event in of(events, "round")] == [(0, sites), (1, sites)]
    for task in ("round", "final", "alone"):
        answers = [event for event in of(events, "answered") if event["task"] == task]
        assert {event["site"] for event in answers} == sites
        assert all("auc" in event["metrics"]["scores"] for event in answers)

    # nothing but the model, events and FLARE's own files came back: no cohort, no local model
    names = {path.name for path in result.rglob("*")}
    assert not names & {"manifest.jsonl", "local_only.npz", "site.toml"}

    model, expected = load_model(result / MODEL_FILE), in_a_loop(running, job)
    assert set(model) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(model[name], array)
    audited(running, job_id, rounds=job.federation.rounds)


def audited(running: Running, job_id: str, *, rounds: int) -> None:
    """The logs of server and sites have no fault, and hold each act of the job once, by whom."""
    (person,) = running.kits.people
    own, sites = own_account(), sorted(running.kits.sites)
    server = acts_of(running.kits.server, job_id)
    assert [act for act in server if act[0] != "round-complete"] == [
        ("job-deployed", person),
        ("job-launched", own),
        ("job-started", own),
        ("sites-admitted", own),
        ("job-finished", own),
    ]
    assert [act for act in server if act[0] == "round-complete"] == [("round-complete", own)] * rounds
    whole = list(entries(log_at(running.kits.server)))
    assert [one.who for one in whole if one.what == "job-submitted"][:1] == [person]
    assert sorted(one.who for one in whole if one.what == "signed-in") == sites
    assert [one.what for one in whole][:1] == ["process-started"]
    for site in sites:
        found = acts_of(running.kits.sites[site], job_id)
        assert found == [
            ("job-deployed", person),
            ("job-launched", person),
            ("admitted", own),
            *[("update-left", own)] * rounds,
            ("run-ended", own),
        ]
        assert verify(log_at(running.kits.sites[site])).sealed_by == "site"
    assert verify(log_at(running.kits.server)).sealed_by == "own"


def acts_of(kit: Path, job_id: str) -> list[tuple[str, str]]:
    log = log_at(kit)
    assert log.path == kit / "audit" / "audit.jsonl"
    assert verify(log).torn_bytes == 0
    return [(one.what, one.who) for one in entries(log) if one.about.get("job") == job_id]


def test_a_job_that_carries_code_is_refused(running: Running, tmp_path: Path) -> None:
    exported = export_job(named("code"), tmp_path)
    (exported / "app" / "custom").mkdir()
    (exported / "app" / "custom" / "mine.py").write_text("print('I should not be here')\n")
    with pytest.raises(JobError, match="a file that a job does not have"):
        running.session.submit(exported)
    with pytest.raises(InvalidJobDefinition, match="a file that a job does not have"):
        send(running, exported)
    consoles = [kit / "console.log" for kit in [running.kits.server, *running.kits.sites.values()]]
    assert not any("I should not be here" in console.read_text() for console in consoles)


def test_a_job_that_names_another_class_trains_nowhere(running: Running, tmp_path: Path) -> None:
    exported = export_job(named("class"), tmp_path)
    config = exported / "app" / "config" / "config_fed_client.json"
    content = json.loads(config.read_text())
    content["executors"][0]["executor"] = {"path": "nvflare.app_common.np.np_trainer.NPTrainer", "args": {}}
    config.write_text(json.dumps(content))
    with pytest.raises(JobError, match=r"config_fed_client\.json: job is not what its settings export to"):
        running.session.submit(exported)
    with pytest.raises(InvalidJobDefinition, match=r"config_fed_client\.json: job is not what its settings export to"):
        send(running, exported)


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
        status, events, _ = run(running, named("partial", federation={"rounds": 1, "local_baseline": False}), tmp_path)
    finally:
        policy.write_text(before)
    assert status == "FINISHED:COMPLETED"
    declined = of(events, "declined")
    assert [event["site"] for event in declined] == [site]
    assert declined[0]["reason"] == SENTENCES[Code.COHORT], "labels and counts stay"
    assert of(events, "round")[0]["sites"] == others


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


def test_a_hospital_whose_images_vanish_is_dropped_with_the_reason_and_the_others_go_on(
    running: Running, tmp_path: Path
) -> None:
    site, *others = sorted(running.hospitals)
    images = running.hospitals[site].manifest.images_root
    images.rename(images.with_name("gone"))
    try:
        status, events, _ = run(running, named("vanished", federation={"rounds": 1, "local_baseline": False}), tmp_path)
    finally:
        images.with_name("gone").rename(images)
    assert status == "FINISHED:COMPLETED"
    dropped = of(events, "dropped")
    assert [event["site"] for event in dropped] == [site]
    assert dropped[0]["reason"]
    assert str(images) not in dropped[0]["reason"], "a hospital's paths are its own"
    assert of(events, "round")[0]["sites"] == others


def _drop_labels(folder: Path) -> None:
    from dataclasses import replace

    from fedward.dataset.manifest import read_manifest, write_manifest

    manifest = read_manifest(folder)
    write_manifest(replace(manifest, rows=tuple(replace(row, labels={}) for row in manifest.rows)), folder)
