"""A server and a site in containers with what ``deploy/compose`` gives them: no root, no writable root, no network.

``make test`` runs them from this machine's own files, read-only. ``make rehearse`` first builds the image of a bundle,
on a base that debootstrap makes, without a network.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from fedward.flare.kits.central import Kits, provision
from fedward.flare.local_federation import free_port
from fedward.settings import FederationSpec, parse
from tests.support.packages import needs
from tests.support.rehearsal import rehearsal

pytestmark = pytest.mark.integration

USER = 10001
START_S = 120.0
CONTAINERS_CONF = """[containers]
default_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
"""Podman without systemd, and within the limits of a machine that is a container itself."""


@dataclass(frozen=True, slots=True)
class Podman:
    """Podman with its own configuration, and what every container of this test gets."""

    conf: Path
    root: Path
    image: tuple[str, ...]
    python: str

    def __call__(self, *args: str, check: bool = True, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "CONTAINERS_CONF": str(self.conf)}
        done = subprocess.run(
            ["podman", *args], env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        assert not check or done.returncode == 0, f"podman {args[0]}: {done.stderr}"
        return done

    def start(self, name: str, kit: Path, *, network: str) -> None:
        """A container as ``deploy/compose/common.yml`` has it, its kit read-only below a folder that it may write."""
        run = kit.parent / f"{name}-run"
        for folder in (run, run / "startup", run / "local"):
            folder.mkdir(mode=0o700)
        for path in (run, *run.rglob("*"), kit, *kit.rglob("*")):
            os.chown(path, USER, USER)
        mounts = [f"{run}:/kit", f"{kit / 'startup'}:/kit/startup:ro", f"{kit / 'local'}:/kit/local:ro"]
        volumes = [argument for mount in mounts for argument in ("--volume", mount)]
        self(
            *("run", "--detach", "--name", name, "--network", network, "--health-interval", "disable"),
            *(*hardening(self.root), *volumes, *self.image),
        )

    def health(self, name: str) -> subprocess.CompletedProcess[str]:
        return self("exec", name, self.python, "/opt/fedward/share/health.py", "/kit", check=False)

    def await_health(self, name: str) -> None:
        end = time.monotonic() + START_S
        while (seen := self.health(name)).returncode != 0:
            logs = self("logs", name, check=False)
            said = f"{seen.stdout}{seen.stderr}{(logs.stdout + logs.stderr)[-2000:]}"
            assert self("inspect", "--format", "{{.State.Running}}", name).stdout.strip() == "true", said
            assert time.monotonic() < end, said
            time.sleep(1.0)


def hardening(root: Path) -> list[str]:
    """``deploy/compose/common.yml`` as podman's own options."""
    common = yaml.safe_load((root / "deploy/compose/common.yml").read_text(encoding="utf-8"))["services"]["fedward"]
    assert common["read_only"] is True
    return [
        *("--read-only", "--user", common["user"], "--pids-limit", str(common["pids_limit"])),
        *(part for capability in common["cap_drop"] for part in ("--cap-drop", capability)),
        *(part for option in common["security_opt"] for part in ("--security-opt", option.split(":")[0])),
        *(part for mount in common["tmpfs"] for part in ("--tmpfs", mount)),
    ]


@pytest.fixture
def podman(root: Path, tmp_path: Path) -> Podman:
    needs("podman", "runc")
    if os.geteuid() != 0:
        pytest.skip("podman without root is not set up here")
    conf = tmp_path / "containers.conf"
    conf.write_text(CONTAINERS_CONF, encoding="utf-8")
    return Podman(conf, root, (), "")


@pytest.fixture
def borrowed(podman: Podman, root: Path, tmp_path: Path) -> Podman:
    """A root file system with nothing in it but this machine's programs and this environment, read-only."""
    empty = tmp_path / "rootfs"
    venv, base = Path(sys.prefix), Path(sys.base_prefix)
    seen = [Path("/usr"), venv, root / "custom", *([] if base.is_relative_to("/usr") else [base])]
    for folder in (*seen, Path("/kit"), Path("/tmp"), Path("/etc"), Path("/opt/fedward/share")):
        (empty / folder.relative_to("/")).mkdir(parents=True, exist_ok=True)
    for link in ("bin", "lib", "lib64", "sbin"):
        (empty / link).symlink_to(f"usr/{link}")
    # the interpreter of an environment may be a link to another name of the same folder
    mounts = [(str(path), str(path)) for path in seen] + [
        (str(root / "deploy/containers"), "/opt/fedward/share"),
        ("/etc/hosts", "/etc/hosts"),
    ]
    volumes = [part for source, target in mounts for part in ("--volume", f"{source}:{target}:ro")]
    path = f"{venv / 'bin'}:/usr/bin:/bin"
    image = (
        *(*volumes, "--env", f"PATH={path}", "--env", "HOME=/tmp", "--env", "PYTHONDONTWRITEBYTECODE=1"),
        *("--workdir", "/kit", "--rootfs", str(empty), "/bin/bash", "/opt/fedward/share/entry.sh"),
    )
    return replace(podman, image=image, python=str(venv / "bin" / "python3"))


@pytest.fixture
def kits(tmp_path: Path) -> Kits:
    content = {
        "name": "boxed",
        "server": {"host": "localhost", "port": free_port(), "organisation": "operator"},
        "hospitals": [{"site": "north-clinic", "organisation": "north"}],
        "people": [{"email": "operator@example.org", "organisation": "operator", "role": "project_admin"}],
    }
    return provision(parse(FederationSpec, content, where="test"), tmp_path / "kits")


@pytest.fixture
def names(podman: Podman) -> Iterator[tuple[str, str]]:
    """Names of this run's own containers, which are gone afterwards."""
    pair = (f"fedward-test-server-{os.getpid()}", f"fedward-test-site-{os.getpid()}")
    yield pair
    for name in reversed(pair):
        podman("rm", "--force", "--ignore", "--time", "0", name, check=False)


def holds(podman: Podman, names: tuple[str, str], kits: Kits) -> None:
    """A server and a site start, are healthy, could write nothing, and stop on request."""
    server, site = names
    podman.start(server, kits.server, network="none")
    podman.await_health(server)
    podman.start(site, kits.sites["north-clinic"], network=f"container:{server}")
    podman.await_health(site)
    assert "north-clinic" in podman("logs", server).stdout

    write = (
        "for folder in / /usr /opt /kit/startup /kit/local; do touch $folder/x 2>/dev/null && echo $folder; done; id -u"
    )
    for name in names:
        assert podman("exec", name, "/bin/bash", "-c", write, check=False).stdout.split() == [str(USER)]
        status = podman("exec", name, "/bin/bash", "-c", "cat /proc/1/status").stdout
        assert "CapEff:\t0000000000000000" in status and "NoNewPrivs:\t1" in status

    # the check sees what it is for: a site whose server is gone is not healthy, and neither is a server that is stuck
    started = time.monotonic()
    podman("stop", "--time", "30", server)
    assert time.monotonic() - started < 25.0, "it did not hear the stop, and was killed"
    assert podman("inspect", "--format", "{{.State.ExitCode}}", server).stdout.strip() == "0"
    end = time.monotonic() + 30.0
    while podman.health(site).returncode == 0:
        assert time.monotonic() < end, "healthy without a server"
        time.sleep(0.5)


def test_server_and_site_run_without_root_and_without_a_writable_root(
    borrowed: Podman, names: tuple[str, str], kits: Kits
) -> None:
    holds(borrowed, names, kits)


@rehearsal("builds the image")
def test_image_is_built_without_a_network_and_runs(
    podman: Podman, names: tuple[str, str], kits: Kits, root: Path
) -> None:
    needs("debootstrap")
    environment = {**os.environ, "CONTAINERS_CONF": str(podman.conf), "FEDWARD_IMAGE": "localhost/fedward-test:0"}
    base = subprocess.run(
        [root / "deploy/containers/base.sh"], env=environment, capture_output=True, text=True, check=True
    )
    subprocess.run([root / "deploy/bundle/make.sh"], env=environment, capture_output=True, check=True)
    build = [str(root / "deploy/containers/build.sh"), base.stdout.strip()]
    done = subprocess.run(build, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    image = done.stdout.split()[-1]
    try:
        holds(replace(podman, image=(image,), python="/opt/fedward/bin/python3"), names, kits)
    finally:
        for name in reversed(names):
            podman("rm", "--force", "--ignore", "--time", "0", name, check=False)
        podman("rmi", "--force", image, check=False)


def test_build_refuses_a_base_that_may_change_under_its_name(root: Path) -> None:
    if shutil.which("bash") is None:
        pytest.skip("no bash")
    done = subprocess.run(
        [root / "deploy/containers/build.sh", "debian:bookworm"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "give it by digest" in done.stderr
