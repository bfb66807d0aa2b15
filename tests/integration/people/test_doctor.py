"""``fedward site doctor`` at a real server: a healthy site passes, and each fault is found where it is, and alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

import fedward
from fedward.demo.federate import federation_of
from fedward.doctor.context import Case, Limits
from fedward.doctor.findings import Finding
from fedward.doctor.run import Heard, examine
from fedward.doctor.site.process import running
from fedward.encryption.keys.key import create_key
from fedward.encryption.keys.key_file import write_key
from fedward.flare.kits.central import Kits, provision
from fedward.flare.local_federation import LocalFederation, free_port
from fedward.provisioning.authority import read_authority, reissue
from fedward.provisioning.crl import CRL_FILE, make_crl
from fedward.settings import FederationSpec
from tests.support.federation.doctor_site import NAME, Site, healthy, said

pytestmark = pytest.mark.integration

FEDWARD = [sys.executable, "-c", "from fedward.cli import main; main()"]
TMPFS_MIB = 8
CLOCK_S = 600


@dataclass(frozen=True)
class Federation:
    """A server that runs, its authority's folder, and one healthy hospital that stays as it is."""

    state: Path
    spec: FederationSpec
    kits: Kits
    site: Site


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    folder = tmp_path_factory.mktemp("doctor")
    spec = federation_of([NAME, "south"], port=free_port())
    kits = provision(spec, folder / "federation")
    site = healthy(kits.sites[NAME], folder / "site")
    with LocalFederation(spec, replace(kits, sites={}), threads=1):
        yield Federation(folder / "federation" / spec.name / "state", spec, kits, site)


@pytest.fixture
def site(federation: Federation, tmp_path: Path) -> Site:
    return federation.site.copy(tmp_path / "site")


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("grpc_proxy", "https_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def looked_at(site: Site, **options: Any) -> tuple[Heard, ...]:
    return examine(Case(kit=site.kit, site_toml=site.policy, **options))


def typed(site: Site, *words: str, **environment: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, JSON answer and standard error of the command in a process of its own."""
    command = [*FEDWARD, "site", "doctor", str(site.kit), "--format", "json", *words]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=120
    )
    return done.returncode, json.loads(done.stdout), done.stderr


def failures(answer: dict[str, Any]) -> set[str]:
    return {finding["check"] for finding in answer["findings"] if finding["level"] == "fail"}


def test_a_healthy_site_passes_all_before_its_service_starts(site: Site) -> None:
    heard = looked_at(site)
    assert said(heard, "fail", "warn") == {}
    assert set(said(heard, "skip")) == {"pacs", "messages", "roster"}


def test_a_healthy_site_passes_all(site: Site, federation: Federation) -> None:
    with service(site, federation):
        heard = looked_at(site)
    assert said(heard, "fail", "warn") == {}
    assert set(said(heard, "skip")) == {"pacs", "roster"}


@contextmanager
def service(site: Site, federation: Federation) -> Iterator[None]:
    """The site's own process, up until the end of the ``with``."""
    alone = LocalFederation(federation.spec, replace(federation.kits, sites={NAME: site.kit}), threads=1)
    try:
        alone.start(NAME, site.kit)
        end = time.monotonic() + 60
        while not any(process.ports for process in running(site.kit)):
            alone.check()
            assert time.monotonic() < end, "it listens to no job"
            time.sleep(0.1)
        yield
    finally:
        alone.stop()


def test_the_command_says_so_too_in_time_and_says_nothing_secret(site: Site) -> None:
    start = time.monotonic()
    code, answer, errors = typed(site)
    assert (code, answer["result"], errors) == (0, "pass", "")
    assert time.monotonic() - start < 60
    for secret in (site.kit / "local" / "site.key", site.kit / "local" / "federation.key"):
        assert secret.read_text().strip() not in json.dumps(answer)
    assert f"{site.images}/" not in json.dumps(answer)


# the twelve faults -----------------------------------------------------------------------------------------------


def wrong_host(site: Site, federation: Federation) -> None:
    _target(site, "no-such-host.invalid")


def closed_port(site: Site, federation: Federation) -> None:
    _target(site, "localhost", free_port())


def expired_certificate(site: Site, federation: Federation) -> None:
    """A real one: by the federation's own authority, for the site's own key, over for a year."""
    path = site.kit / "startup" / "client.crt"
    old = x509.load_pem_x509_certificate(path.read_bytes())
    made = reissue(
        old, authority=read_authority(federation.state), days=30, now=datetime.now(UTC) - timedelta(days=400)
    )
    path.write_bytes(made.public_bytes(Encoding.PEM))


def another_federations_identity(site: Site, federation: Federation) -> None:
    """A kit whose certificate, key and authority belong together, and to another federation of the same names."""
    other = provision(federation_of([NAME], port=free_port()), site.folder / "other").sites[NAME]
    for name in ("client.crt", "client.key", "rootCA.pem"):
        shutil.copy2(other / "startup" / name, site.kit / "startup" / name)


def another_authority(site: Site, federation: Federation) -> None:
    other = provision(federation_of([NAME], port=free_port()), site.folder / "other").sites[NAME]
    shutil.copy2(other / "startup" / "rootCA.pem", site.kit / "startup" / "rootCA.pem")


def another_federation_key(site: Site, federation: Federation) -> None:
    write_key(create_key(), site.kit / "local" / "federation.key", replace=True)


def folder_gone(site: Site, federation: Federation) -> None:
    site.images.rename(site.images.with_name("elsewhere"))


def file_for_a_folder(site: Site, federation: Federation) -> None:
    folder_gone(site, federation)
    site.images.touch()


def many_new_images(site: Site, federation: Federation) -> None:
    for path in [path for path in sorted(site.images.rglob("*")) if path.is_file()][:6]:
        shutil.copy2(path, path.with_name(f"new-{path.name}"))


def image_removed(site: Site, federation: Federation) -> None:
    _an_image(site).unlink()


def image_rewritten(site: Site, federation: Federation) -> None:
    with _an_image(site).open("ab") as file:
        file.write(b"\0")


def lax_policy(site: Site, federation: Federation) -> None:
    site.say("approved_jobs = []", 'approved_jobs = "any"')
    site.say('dp = "required", epsilon_cap = 8.0, delta = 1e-3, encryption = "required"', OPEN)
    site.say("min_count = 5", "min_count = 1")


OPEN = 'dp = "not-required", encryption = "not-required"'


def streaming_on(site: Site, federation: Federation) -> None:
    """As FLARE's own builder leaves it."""

    def on(resources: dict[str, Any]) -> None:
        resources["allow_log_streaming"] = True
        resources["components"].append({"id": "site_log_streamer", "path": STREAMER, "args": {}})

    site.change("local/resources.json", on)


STREAMER = "nvflare.app_common.logging.site_log_streamer.SiteLogStreamer"


@pytest.mark.parametrize(
    ("plant", "check", "remedy"),
    [
        (wrong_host, "dns", "name server"),
        (closed_port, "port", "firewall"),
        (expired_certificate, "certificate-days", "federation renew"),
        (another_federations_identity, "tls", "federation"),
        (another_authority, "certificate-root", "kit of this federation"),
        (another_federation_key, "federation-key", "key open"),
        (folder_gone, "images", "cohorts.chest.images"),
        (file_for_a_folder, "images", "cohorts.chest.images"),
        (many_new_images, "index-fresh", "site index"),
        (image_removed, "index-fresh", "site index"),
        (image_rewritten, "index-fresh", "site index"),
        (lax_policy, "lax-policy", "encryption"),
        (streaming_on, "log-streaming", "allow_log_streaming"),
    ],
)
def test_each_fault_is_found_by_its_check_alone_with_what_to_do(
    site: Site, federation: Federation, plant: Callable[[Site, Federation], None], check: str, remedy: str
) -> None:
    plant(site, federation)
    failed = said(looked_at(site), "fail")
    assert set(failed) == {check}
    assert any(remedy in (finding.remedy or "") for finding in failed[check])


def test_a_skewed_clock_is_found_by_a_doctor_with_another_clock(site: Site) -> None:
    """The doctor's clock is an argument here; nothing else in this process is skewed."""
    failed = said(looked_at(site, now=lambda: time.time() + CLOCK_S), "fail")
    assert set(failed) == {"clock"}
    assert failed["clock"][0].value is not None and failed["clock"][0].value.startswith("+600")
    drift = looked_at(site, now=lambda: time.time() + 120)
    assert said(drift, "fail") == {} and set(said(drift, "warn")) == {"clock"}


def test_a_skewed_clock_is_found_by_a_process_that_lives_in_it(site: Site, tmp_path: Path) -> None:
    """The command in a process whose ``clock_gettime`` and ``time`` are ten minutes ahead, by a preloaded library."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    source, library = tmp_path / "ahead.c", tmp_path / "ahead.so"
    source.write_text(_AHEAD)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    code, answer, _ = typed(site, LD_PRELOAD=str(library), FEDWARD_TEST_AHEAD_S=str(CLOCK_S))
    assert abs(datetime.fromisoformat(answer["at"]).timestamp() - time.time() - CLOCK_S) < 60
    assert code == 1 and failures(answer) == {"clock"}


def test_another_wheel_is_found_by_the_wheel_that_runs(site: Site, tmp_path: Path) -> None:
    """The command runs from a copy of the package in which one file has a line more."""
    copy = tmp_path / "installed" / "fedward"
    shutil.copytree(Path(fedward.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / "privacy" / "clip.py").open("a", encoding="utf-8") as file:
        file.write("# one line more\n")
    code, answer, _ = typed(site, PYTHONPATH=str(copy.parent))
    assert code == 1 and failures(answer) == {"wheel"}
    assert any("--require-hashes" in (finding["remedy"] or "") for finding in answer["findings"])


def test_a_full_disk_is_found_on_a_small_disk(site: Site, tmp_path: Path) -> None:
    """A real file system of 8 MiB under the index."""
    with small_disk(tmp_path / "small") as disk:
        site.say('index = "../../index"', f'index = "{disk}/index"')
        site.index()
        failed = said(looked_at(site), "fail")
    assert set(failed) == {"disk"}
    assert "make room" in (failed["disk"][0].remedy or "")


def test_a_full_disk_is_found_by_a_limit_that_no_disk_has(site: Site) -> None:
    """No disk is full here: the limit is raised instead, for where no disk can be mounted."""
    failed = said(looked_at(site, limits=Limits(kit_fail_bytes=2.0**70, kit_warn_bytes=2.0**70)), "fail")
    assert set(failed) == {"disk"}


def test_a_folder_that_another_user_may_not_read_is_found(site: Site, federation: Federation) -> None:
    """The command runs as a user who owns all of the site but the images; root may read everything."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root, to run as another user")
    nobody = 65_534
    with open_folder() as folder:
        moved = federation.site.copy(folder / "site")
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, nobody, nobody)
        os.chown(moved.images, 0, 0)
        moved.images.chmod(0o700)
        words = ["setpriv", f"--reuid={nobody}", f"--regid={nobody}", "--clear-groups", *FEDWARD]
        words += ["site", "doctor", str(moved.kit), "--format", "json"]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120, cwd="/")
        if "Permission denied" in done.stderr and not done.stdout:
            pytest.skip("another user may not run this Python")
        answer = json.loads(done.stdout)
    assert done.returncode == 1 and failures(answer) == {"images"}
    assert all(str(moved.images) + "/" not in str(finding) for finding in answer["findings"])


def test_a_revoked_kit_is_told_so(site: Site, federation: Federation) -> None:
    authority = read_authority(federation.state)
    certificate = x509.load_pem_x509_certificate((site.kit / "startup" / "client.crt").read_bytes())
    crl = federation.kits.server / "local" / CRL_FILE
    revoked = {certificate.serial_number: datetime.now(UTC)}
    try:
        _replace(crl, make_crl(root=authority.certificate, key=authority.key, revoked=revoked, number=2))
        failed = _until(site, lambda failed: "revoked" in str(failed))
        assert set(failed) == {"server-answer"}
        assert "operator" in (failed["server-answer"][0].remedy or "")
    finally:
        _replace(crl, make_crl(root=authority.certificate, key=authority.key, revoked={}, number=3))
        assert _until(site, lambda failed: not failed) == {}


def test_ctrl_c_stops_it_while_it_waits_for_a_server_that_says_nothing(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        _target(site, "localhost", silent.getsockname()[1])
        words = [*FEDWARD, "site", "doctor", str(site.kit)]
        running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            links = [silent.accept()[0] for _ in ("port", "tls")]
            running.send_signal(signal.SIGINT)
            out, errors = running.communicate(timeout=30)
        finally:
            running.kill()
            running.wait()
        for link in links:
            link.close()
    assert (running.returncode, out, errors) == (130, "", "fedward: stopped\n")


def _until(site: Site, done: Callable[[dict[str, list[Finding]]], bool]) -> dict[str, list[Finding]]:
    """Return the failed findings, once they are as wanted, or after a minute."""
    end = time.monotonic() + 60
    while True:
        failed = said(looked_at(site), "fail")
        if done(failed) or time.monotonic() > end:
            return failed
        time.sleep(0.2)


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_suffix(".new")
    draft.write_bytes(content)
    draft.replace(path)


def _target(site: Site, host: str, port: int | None = None) -> None:
    def point(client: dict[str, Any]) -> None:
        service = client["servers"][0]["service"]
        service["target"] = f"{host}:{service['target'].rpartition(':')[2] if port is None else port}"

    site.change("startup/fed_client.json", point)


def _an_image(site: Site) -> Path:
    return next(path for path in sorted(site.images.rglob("*")) if path.is_file())


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own, mounted for as long as the ``with``; skipped where that is not allowed."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_MIB}m", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(words, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs root that may mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that any user may come to; pytest's own are closed to others."""
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="fedward-doctor-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


_AHEAD = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
static time_t ahead(void) { const char *s = getenv("FEDWARD_TEST_AHEAD_S"); return s ? atol(s) : 0; }
int clock_gettime(clockid_t clock, struct timespec *at) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, at);
    if (!failed && clock == CLOCK_REALTIME) at->tv_sec += ahead();
    return failed;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""
