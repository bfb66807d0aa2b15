"""Check a person's mistakes: one line with fault, place and remedy; exit code 1; no process left behind."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from fedward.demo.federate import await_sites, federation_of
from fedward.demo.hospitals import DemoHospital
from fedward.dicom.synthetic.hospital import HOSPITALS, write_cohort
from fedward.errors import FederationError
from fedward.flare.admin_session import console
from fedward.flare.kits.central import provision
from fedward.flare.local_federation import MARK, LocalFederation, free_port
from fedward.flare.refusal import SENTENCES, Code
from tests.conftest import tiny_job_content

pytestmark = pytest.mark.integration


def write_toml(path: Path, content: dict[str, object]) -> None:
    """The little TOML that a test job needs: tables of plain values, which JSON writes alike."""
    lines: list[str] = []
    for section, values in content.items():
        assert isinstance(values, dict)
        lines.append(f"[{section}]")
        for name, value in values.items():
            plain = value if not isinstance(value, dict) else None
            if plain is None:
                inner = ", ".join(f"{key} = {json.dumps(entry)}" for key, entry in value.items())
                lines.append(f"{name} = {{{inner}}}")
            else:
                lines.append(f"{name} = {json.dumps(plain)}")
    path.write_text("\n".join(lines) + "\n")
    assert tomllib.loads(path.read_text()) == content


@pytest.fixture
def tiny_folder(tmp_path: Path) -> Path:
    folder, content = tmp_path / "tiny", tiny_job_content()
    content["federation"] |= {"rounds": 1, "local_baseline": False}
    folder.mkdir()
    write_toml(folder / "job.toml", content)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    write_cohort(folder, label="lesion", masks=False, hospitals=[replace(h, images=14, faults=()) for h in HOSPITALS])
    return folder


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path) -> Iterator[None]:
    yield
    left = [process for process in psutil.process_iter() if _of_this_test(process, tmp_path)]
    for process in left:
        process.kill()
    assert not left, "processes were left behind"


def _of_this_test(process: psutil.Process, folder: Path) -> bool:
    try:
        return (
            process.pid != os.getpid() and MARK in process.environ() and str(folder) in process.environ().get("PWD", "")
        )
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def fedward(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "fedward"), *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


def refused(done: subprocess.CompletedProcess[str], *words: str) -> str:
    """The one line on standard error of a command that ended with exit code 1."""
    assert done.returncode == 1, done.stdout + done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("fedward: ")
    for word in words:
        assert word in lines[0]
    assert "Traceback" not in done.stdout + done.stderr
    return lines[0]


def relabel(table: Path, **columns: str) -> None:
    with table.open(newline="") as file:
        rows = [row | columns for row in csv.DictReader(file)]
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_no_such_folder(tmp_path: Path, tiny_folder: Path) -> None:
    refused(
        fedward("demo", "--job", tiny_folder, "--data", tmp_path / "nowhere", cwd=tmp_path), "nowhere", "no such folder"
    )


def test_no_labels_match(tmp_path: Path, tiny_folder: Path, data: Path) -> None:
    for table in data.glob("*/labels.csv"):
        relabel(table, PatientID="X", StudyInstanceUID="1.2.3", SOPInstanceUID="1.2.4", lesion="1")
    done = fedward("demo", "--job", tiny_folder, "--data", data, cwd=tmp_path)
    refused(done, "no hospital has a usable cohort")
    assert done.stdout.count("takes no part") == 3
    assert "label" in done.stdout


def test_one_patient_or_one_class_only(tmp_path: Path, tiny_folder: Path, data: Path) -> None:
    """The first hospital has one patient, the others no image without the finding: none of the three takes part."""
    few, *others = sorted(data.iterdir())
    for patient in sorted((few / "dicom").iterdir())[1:]:
        shutil.rmtree(patient)
    for folder in others:
        relabel(folder / "labels.csv", lesion="1")
    done = fedward("demo", "--job", tiny_folder, "--data", data, cwd=tmp_path)
    refused(done, "min_sites")
    for hospital in HOSPITALS:
        assert f"{hospital.site:<22} takes no part" in done.stdout
    assert done.stdout.count(SENTENCES[Code.COHORT]) == 2 * 3, "for each hospital, and in the reason why the job ended"
    assert "1 patient" not in done.stdout.split("federation", 1)[1], "a count below the floor stays"


@pytest.mark.parametrize("command", [("job", "check"), ("demo", "--job"), ("job", "export")])
def test_an_unknown_network(tmp_path: Path, tiny_folder: Path, command: tuple[str, ...]) -> None:
    content = tiny_job_content()
    content["model"] = {"network": "DenseNet112"}
    write_toml(tiny_folder / "job.toml", content)
    refused(fedward(*command, tiny_folder, cwd=tmp_path), "DenseNet112", "DenseNet121")


def test_a_port_in_use(tmp_path: Path, tiny_folder: Path, data: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = fedward("demo", "--job", tiny_folder, "--data", data, "--port", port, cwd=tmp_path)
    refused(done, str(port), "--port")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_disk_with_no_room(tmp_path: Path, tiny_folder: Path, data: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", small], check=False).returncode:
        pytest.skip("this machine does not let root mount a small disk")
    try:
        refused(
            fedward("demo", "--job", tiny_folder, "--data", data, "--out", small / "demo", cwd=tmp_path), "room", "free"
        )
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path: Path, tiny_folder: Path, data: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    refused(fedward("demo", "--job", tiny_folder, "--data", data, "--out", mine, cwd=tmp_path), "mine")
    assert (mine / "thesis.txt").read_text() == "years of work"


def test_a_site_that_cannot_reach_the_server(tmp_path: Path, hospitals: list[DemoHospital]) -> None:
    spec = federation_of(["north", "south"], port=free_port())
    kits = provision(spec, tmp_path)
    config = kits.sites["south"] / "startup" / "fed_client.json"
    config.write_text(config.read_text().replace(f"localhost:{spec.server.port}", f"localhost:{free_port()}"))
    with (
        pytest.raises(FederationError, match=rf"south does not reach the server at localhost:{spec.server.port}"),
        LocalFederation(spec, kits) as federation,
        console(next(iter(kits.people.values()))) as session,
    ):
        await_sites(federation, session, kits, spec, timeout_s=8.0)
    assert not federation.processes()


@pytest.mark.parametrize(
    ("number", "moment", "least"), [(signal.SIGINT, "takes part", 6), (signal.SIGTERM, "federation", 1)]
)
def test_a_signal_stops_every_process(
    tmp_path: Path, tiny_folder: Path, data: Path, number: signal.Signals, moment: str, least: int
) -> None:
    """While server, sites and their job processes live, the first hospital admitted; and while the server starts."""
    command = [str(Path(sys.executable).parent / "fedward"), "demo", "--job", str(tiny_folder), "--data", str(data)]
    started = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert started.stdout is not None
    for line in started.stdout:
        if moment in line:
            break
    end = time.monotonic() + 30
    while sum(_of_this_test(process, tmp_path) for process in psutil.process_iter()) < least:
        assert time.monotonic() < end
        time.sleep(0.1)
    below = psutil.Process(started.pid).children(recursive=True)
    assert any("fedward.dashboard.background_child" in process.cmdline() for process in below)
    started.send_signal(number)
    _, errors = started.communicate(timeout=60)
    assert started.returncode == 130
    assert errors.strip() == "fedward: stopped"
    end = time.monotonic() + 10
    while any(_of_this_test(process, tmp_path) for process in psutil.process_iter()) or any(
        process.is_running() for process in below
    ):
        assert time.monotonic() < end
        time.sleep(0.1)
