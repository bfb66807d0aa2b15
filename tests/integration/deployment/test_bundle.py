"""The air-gapped bundle: what was tampered with is refused, and what was not installs where there is no route.

``make test`` packs Fedward's wheel alone and installs it beside this environment's libraries; ``make rehearse`` packs
and installs every library, and starts a hospital's kit from it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.packages import needs
from tests.support.rehearsal import rehearsal

pytestmark = pytest.mark.integration


def packed(root: Path, out: Path, *, wheels: Path | None) -> Path:
    """The archive that ``deploy/bundle/make.sh`` leaves in ``out``."""
    environment = {**os.environ, "FEDWARD_PYTHON": sys.executable, "FEDWARD_BUNDLE": str(out)}
    if wheels is not None:
        environment["FEDWARD_WHEELHOUSE"] = str(wheels)
    done = subprocess.run(
        [root / "deploy/bundle/make.sh"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (archive,) = out.glob("fedward-*.tar.gz")
    return archive


def unpacked(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    (bundle,) = folder.iterdir()
    return bundle


def alone(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command where there is no network at all, not even a route to this machine."""
    return subprocess.run(
        ["unshare", "--net", "--", *map(str, command)],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of Fedward's wheel alone."""
    folder = tmp_path_factory.mktemp("bundle")
    (folder / "wheels").mkdir()
    root = Path(__file__).resolve().parents[3]
    return packed(root, folder / "out", wheels=folder / "wheels")


@pytest.fixture
def bundle(archive: Path, tmp_path: Path) -> Path:
    return unpacked(archive, tmp_path / "bundle")


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """An environment that has the libraries of this one, and not its Fedward."""
    folder = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    (site,) = folder.glob("lib/python3*/site-packages")
    for old in site.glob("setuptools*"):  # what Python brought; ours is among the libraries
        shutil.rmtree(old)
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return folder


@pytest.fixture
def networkless() -> None:
    needs("util-linux")
    if alone("true").returncode != 0:
        pytest.skip("may not make a network namespace: run as root")


def test_bundle_installs_without_a_network(networkless: None, bundle: Path, venv: Path, root: Path) -> None:
    assert alone(sys.executable, "-c", "import socket; socket.create_connection(('127.0.0.1', 9), 1)").returncode != 0
    done = alone(bundle / "install.sh", venv)
    assert done.returncode == 0, done.stderr
    said = dict(line.split(None, 1) for line in done.stdout.splitlines()[:3])
    version = (bundle / "VERSION").read_text(encoding="utf-8")
    assert f"package={said['package']}" in version
    assert archive_name(bundle) == said["package"][:12]

    assert alone(venv / "bin/fedward", "--version").stdout.split()[0] == "fedward"
    checked = alone(venv / "bin/fedward", "job", "check", root / "jobs/cxr_classification")
    assert checked.returncode == 0, checked.stderr
    # it is the bundle's Fedward that ran, not this repository's
    where = alone(venv / "bin/python", "-c", "import fedward; print(fedward.__file__)").stdout
    assert Path(where.strip()).is_relative_to(venv)


def archive_name(bundle: Path) -> str:
    return bundle.name.rpartition("-")[2]


def spoil_wheel(bundle: Path) -> None:
    (wheel,) = (bundle / "wheelhouse").glob("fedward-*.whl")
    content = bytearray(wheel.read_bytes())
    content[len(content) // 2] ^= 1
    wheel.write_bytes(content)


def spoil_document(bundle: Path) -> None:
    (bundle / "deploy/systemd/fedward@.service").write_text("[Service]\nUser=root\n", encoding="utf-8")


def take_a_file(bundle: Path) -> None:
    (bundle / "site_templates/base/site.toml.jinja").unlink()


def add_a_wheel(bundle: Path) -> None:
    (bundle / "wheelhouse/evil-1.0-py3-none-any.whl").write_bytes(b"")


def add_a_link(bundle: Path) -> None:
    (bundle / "wheelhouse/more").symlink_to("/tmp")


def take_the_sums(bundle: Path) -> None:
    (bundle / "SHA256SUMS").unlink()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (spoil_wheel, "a file is not the one that was packed"),
        (spoil_document, "a file is not the one that was packed"),
        (take_a_file, "a file is not the one that was packed"),
        (add_a_wheel, "files that were not packed"),
        (add_a_link, "files that were not packed"),
        (take_the_sums, "SHA256SUMS is missing"),
    ],
)
def test_bundle_that_was_touched_is_refused(
    bundle: Path, tmp_path: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    spoil(bundle)
    done = subprocess.run([bundle / "install.sh", tmp_path / "no"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert reason in done.stderr
    assert not (tmp_path / "no").exists(), "something was made before the sums were looked at"


def test_bundle_with_other_sums_than_the_operators_is_refused(bundle: Path, tmp_path: Path) -> None:
    """An attacker who changes a file also changes its sum; only the operator's own sums then show the change."""
    command = [bundle / "install.sh", tmp_path / "no", "0" * 64]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "not what the operator read to you" in done.stderr


def test_wheel_whose_hash_is_not_written_down_is_refused(bundle: Path, venv: Path) -> None:
    """pip checks the wheels' hashes a second time, whatever SHA256SUMS contains."""
    spoil_wheel(bundle)
    sums = "cd %s && find . -type f ! -name SHA256SUMS -print0 | xargs -0 sha256sum > SHA256SUMS"
    subprocess.run(["bash", "-c", sums % bundle], check=True)
    done = subprocess.run(
        [bundle / "install.sh", venv], env={**os.environ, "PYTHON": sys.executable}, capture_output=True, check=False
    )
    assert done.returncode != 0
    assert b"HASHES" in done.stderr


def test_kit_goes_into_its_own_bundle_and_strangers_cannot_read_it(root: Path, tmp_path: Path) -> None:
    kit = tmp_path / "north-clinic"
    (kit / "startup").mkdir(parents=True)
    (kit / "startup/client.key").write_text("secret", encoding="utf-8")
    (tmp_path / "wheels").mkdir()
    environment = {
        **os.environ,
        "FEDWARD_PYTHON": sys.executable,
        "FEDWARD_BUNDLE": str(tmp_path / "out"),
        "FEDWARD_WHEELHOUSE": str(tmp_path / "wheels"),
    }
    subprocess.run([root / "deploy/bundle/make.sh", kit], env=environment, capture_output=True, check=True)
    (archive,) = (tmp_path / "out").glob("*.tar.gz")
    assert archive.stat().st_mode & 0o077 == 0
    assert (unpacked(archive, tmp_path / "b") / "kit/startup/client.key").read_text(encoding="utf-8") == "secret"
    done = subprocess.run(
        [root / "deploy/bundle/make.sh", tmp_path], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "is not a kit" in done.stderr


@rehearsal("installs the whole bundle")
def test_whole_bundle_brings_every_library(networkless: None, root: Path, tmp_path: Path) -> None:
    archive = packed(root, root / "build/bundle", wheels=None)
    bundle, venv = unpacked(archive, tmp_path / "bundle"), tmp_path / "venv"
    done = alone(bundle / "install.sh", venv)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(bundle / "wheelhouse")
    checked = alone(venv / "bin/fedward", "job", "check", root / "jobs/cxr_classification")
    assert checked.returncode == 0, checked.stderr
    modules = "import torch, monai, nvflare, tenseal, pynetdicom, opacus; import fedward.flare.kits.central"
    assert alone(venv / "bin/python", "-c", modules).returncode == 0
