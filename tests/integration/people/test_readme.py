"""Every command that README shows is run as it stands there, with only its placeholders filled in."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from fedward.dicom.synthetic.hospital import HOSPITALS, write_cohort
from tests.integration.conftest import Running
from tests.support.federation.pages import edit

pytestmark = pytest.mark.integration
BIN = Path(sys.executable).parent


def commands(root: Path) -> list[str]:
    blocks = re.findall(r"^```bash\n(.*?)^```", (root / "README.md").read_text(), flags=re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines() if line and not line.startswith("#")]


@pytest.fixture
def desk(root: Path, tmp_path: Path) -> Path:
    """A folder in which README's relative paths mean what they mean in the repository, and jobs are small."""
    shutil.copytree(root / "jobs", tmp_path / "jobs")
    for file in (tmp_path / "jobs").glob("*/job.toml"):
        edit(file, (r"^rounds = \d+", "rounds = 2"), (r"^local_(steps|epochs) = \d+", r"local_\1 = 1"))
        file.write_text(re.sub(r"^size = \[.*?\]", _halved, file.read_text(), flags=re.MULTILINE))
    return tmp_path


def _halved(size: re.Match[str]) -> str:
    return re.sub(r"\d+", lambda side: str(int(side[0]) // 2), size[0])


def run(command: str, desk: Path) -> subprocess.CompletedProcess[str]:
    words = shlex.split(command)
    done = subprocess.run([str(BIN / words[0]), *words[1:]], cwd=desk, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


def only(root: Path, *words: str) -> str:
    found = [command for command in commands(root) if all(word in command for word in words)]
    assert len(found) == 1, f"README shows {len(found)} commands with {words}"
    return found[0]


def test_no_command_of_readme_is_left_out(root: Path) -> None:
    known = ("make demo", "make test", "fedward demo ", "fedward job check", "fedward job export", "nvflare job submit")
    for command in commands(root):
        assert command.startswith(known), f"no test runs {command}"


@pytest.mark.parametrize("verb", ["make demo", "make test"])
def test_the_two_commands_are_verbs(root: Path, verb: str) -> None:
    assert verb in commands(root)
    subprocess.run([*verb.split(), "--dry-run"], cwd=root, check=True, capture_output=True)


def test_check_export_and_submit(root: Path, desk: Path, running: Running) -> None:
    run(only(root, "fedward job check"), desk)
    run(only(root, "fedward job export"), desk)
    kit = next(iter(running.kits.people.values()))
    submitted = run(only(root, "nvflare job submit").replace("KIT", str(kit)) + " --format json", desk)
    job_id = json.loads(submitted.stdout.strip().splitlines()[-1])["data"]["job_id"]
    assert running.session.status(job_id) in ("SUBMITTED", "APPROVED", "DISPATCHED", "RUNNING")
    running.session.abort(job_id)
    running.session.wait(job_id, each=running.federation.check)


@pytest.fixture
def dicom(desk: Path, root: Path) -> Path:
    folder = desk / "dicom"
    write_cohort(folder, label="tb", hospitals=[replace(one, images=32, faults=()) for one in HOSPITALS])
    return folder


@pytest.fixture
def nifti(desk: Path) -> Iterator[Path]:
    """Volumes with a bright ball in two halves, 1 and 2."""
    folder, draw = desk / "brains", np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    grid = np.indices((20, 22, 18)) - np.array([10, 11, 9]).reshape(3, 1, 1, 1)
    for number in range(90):
        ball = (grid**2).sum(0) < draw.uniform(25, 49)
        label = np.where(ball, np.where(grid[0] < 0, 1, 2), 0).astype(np.uint8)
        image = (200 * ball + draw.normal(100, 20, ball.shape)).astype(np.float32)
        for name, array in (("images", image), ("labels", label)):
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / name / f"b{number:02}.nii.gz")
    yield folder


def summary(desk: Path) -> dict[str, dict[str, dict[str, float | None]]]:
    content: dict[str, dict[str, dict[str, float | None]]] = json.loads((desk / "build/demo/summary.json").read_text())
    assert (desk / "build" / "demo" / "report.html").is_file()
    return content


def test_classification_on_own_images(root: Path, desk: Path, dicom: Path) -> None:
    run(only(root, "fedward demo", "cxr_classification").replace("FOLDER", str(dicom)), desk)
    assert set(summary(desk)["sites"]) == {hospital.site for hospital in HOSPITALS}


def test_lung_segmentation_on_own_images(root: Path, desk: Path, dicom: Path) -> None:
    run(only(root, "fedward demo", "lung_segmentation").replace("FOLDER", str(dicom)), desk)
    sites = summary(desk)["sites"]
    assert set(sites) == {hospital.site for hospital in HOSPITALS}
    for site in sites.values():
        assert site["dice"] is not None
        assert 0.0 < site["dice"] <= 1.0


def test_volumes_of_one_hospital_dealt_to_three(root: Path, desk: Path, nifti: Path) -> None:
    run(only(root, "fedward demo", "hippocampus").replace("NIFTI_FOLDER", str(nifti)), desk)
    sites = summary(desk)["sites"]
    assert set(sites) == {"brains-1", "brains-2", "brains-3"}
    for site in sites.values():
        assert site["dice"] is not None
        assert 0.0 < site["dice"] <= 1.0
