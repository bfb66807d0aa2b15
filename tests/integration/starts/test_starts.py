"""A job with a start of 28 MB in a real federation: it travels, it goes on, and another start runs nowhere."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nvflare.fuel.flare_api.api_spec import InvalidJobDefinition

from fedward.bundle.continued import continue_job
from fedward.demo.compare import load_model
from fedward.flare.export import export_job
from fedward.settings import START_FILE, JobSpec, read_job
from fedward.training.networks import initial_weights
from fedward.weights import MODEL_FILE, Weights, save_weights
from tests.integration.conftest import Running, send
from tests.integration.federation.test_federation import in_a_loop, named, run

pytestmark = pytest.mark.integration


def started(name: str, file: Path, *, network: str, **changes: Any) -> tuple[JobSpec, Weights]:
    """A job of plain SGD whose start was not drawn from its seed."""
    training = {"optimizer": "SGD", "lr": 0.01}
    federation = {"rounds": 1, "local_baseline": False}
    tables: dict[str, Any] = {"training": training, "federation": federation, "data": {"size": [32, 32]}, **changes}
    args = {} if network == "DenseNet121" else named(name).model.args
    drawn = initial_weights(named(name, model={"network": network, "args": args}, **tables))
    rng = np.random.default_rng(0)
    weights = {key: (value + 0.01 * rng.normal(size=value.shape)).astype(np.float32) for key, value in drawn.items()}
    save_weights(weights, file)
    content = file.read_bytes()
    start = {"start": file.name, "start_sha256": hashlib.sha256(content).hexdigest()}
    job = named(name, model={"network": network, "args": args, **start}, **tables)
    return job.model_copy(update={"model": job.model.with_start(content)}), weights


def test_a_job_of_28_megabytes_runs_from_its_start_and_goes_on(running: Running, tmp_path: Path) -> None:
    """Through FLARE's upload, store, deployment and download; one round and one more are two rounds of a loop."""
    job, weights = started("dense", tmp_path / "public.npz", network="DenseNet121")
    assert (tmp_path / "public.npz").stat().st_size > 27e6
    begun = initial_weights(job)
    assert all((begun[name] == weights[name]).all() for name in weights)
    status, _, result = run(running, job, tmp_path)
    assert status == "FINISHED:COMPLETED"
    first, due = load_model(result / MODEL_FILE), in_a_loop(running, job)
    assert all(first[name].tobytes() == due[name].tobytes() for name in due)

    more = continue_job(result.parent, tmp_path / "more", rounds=1)
    assert more.differs == ()
    status, _, result = run(running, read_job(tmp_path / "more"), tmp_path / "again")
    assert status == "FINISHED:COMPLETED"
    whole = job.model_copy(update={"federation": job.federation.model_copy(update={"rounds": 2})})
    second, due = load_model(result / MODEL_FILE), in_a_loop(running, whole)
    assert all(second[name].tobytes() == due[name].tobytes() for name in due)


def tampered(tmp_path: Path, name: str) -> Path:
    """An exported job with another start than its settings name, of the same length."""
    job, _ = started(name, tmp_path / "public.npz", network="DenseNet")
    folder = export_job(job, tmp_path)
    path = folder / "app" / "config" / START_FILE
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return folder


def test_an_honest_server_takes_no_job_with_another_start(running: Running, tmp_path: Path) -> None:
    with pytest.raises(InvalidJobDefinition, match="not what its settings export to"):
        send(running, tampered(tmp_path, "other_start"))


def test_a_site_takes_no_other_start_from_a_server_that_does(lying: Running, tmp_path: Path) -> None:
    job_id = send(lying, tampered(tmp_path, "lying_start"))
    assert lying.session.wait(job_id, each=lying.federation.check) != "FINISHED:COMPLETED"
    for kit in lying.kits.sites.values():
        assert not (kit / job_id).exists()
        assert "job refused" in (kit / "log.txt").read_text()
