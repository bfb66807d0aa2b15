"""Check the connection to the server: direct, through a real proxy, to no listener, and to one that never answers."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import grpc
import pytest

from fedward.demo.federate import federation_of
from fedward.doctor.checks import CHECKS
from fedward.doctor.context import Limits
from fedward.doctor.findings import Finding
from fedward.doctor.run import examine
from fedward.flare.kits.central import Kits, provision
from fedward.flare.local_federation import free_port
from tests.support.doctor_case import case_of, change

HOST = "server.fedward.test"
"""A name that no name server knows (RFC 6761, 6.2), so that only the proxy can find it."""
WAY = [check for check in CHECKS if check.name in ("dns", "port", "tls")]
LOOPBACK = "127.0.0.1"


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Kits:
    spec = federation_of(["north"], port=8102)
    there = spec.model_copy(update={"server": spec.server.model_copy(update={"host": HOST})})
    return provision(there, tmp_path_factory.mktemp("federation"))


@pytest.fixture(autouse=True)
def straight(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("grpc_proxy", "https_proxy", "http_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def server(kits: Kits) -> Iterator[int]:
    """A gRPC server with the server's kit, on loopback; its port."""
    startup = kits.server / "startup"
    key, certificate, root = ((startup / name).read_bytes() for name in ("server.key", "server.crt", "rootCA.pem"))
    running = grpc.server(ThreadPoolExecutor(2))
    credentials = grpc.ssl_server_credentials([(key, certificate)], root, require_client_auth=True)
    port = running.add_secure_port(f"{LOOPBACK}:0", credentials)
    running.start()
    yield port
    running.stop(None).wait()


@dataclass
class Proxy:
    """An HTTP proxy that knows where ``HOST`` is; what it answers otherwise, and what it was asked."""

    port: int = 0
    refuses: str = ""
    asked: list[str] = field(default_factory=list)


@contextmanager
def proxy(to: int, *, refuses: str = "") -> Iterator[Proxy]:
    listener = socket.create_server((LOOPBACK, 0))
    made = Proxy(port=listener.getsockname()[1], refuses=refuses)

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=answer, args=(client,), daemon=True).start()

    def answer(client: socket.socket) -> None:
        with client, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(1024)
            made.asked.append(head.decode())
            if made.refuses:
                client.sendall(f"HTTP/1.1 {made.refuses}\r\n\r\n".encode())
                return
            with socket.create_connection((LOOPBACK, to)) as there:
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                back = threading.Thread(target=pump, args=(there, client), daemon=True)
                back.start()
                pump(client, there)
                back.join(5)

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while part := source.recv(65_536):
                sink.sendall(part)
            sink.shutdown(socket.SHUT_WR)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield made
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def found(kits: Kits, **options: object) -> dict[str, Finding]:
    """Return the last finding of each check of the connection."""
    case = case_of(kits.sites["north"], **options)
    checks = [replace(check, needs=tuple(name for name in check.needs if name in ("dns", "port"))) for check in WAY]
    return {one.check.name: one.findings[-1] for one in examine(case, checks=checks)}


def test_a_server_behind_a_proxy_is_reached_through_it(
    kits: Kits, server: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxy(server) as between:
        monkeypatch.setenv("https_proxy", f"http://user:s3cret@{LOOPBACK}:{between.port}")
        said = found(kits)
    assert {name: one.level for name, one in said.items()} == {"dns": "pass", "port": "pass", "tls": "pass"}
    assert HOST in said["dns"].what and LOOPBACK in str(said["dns"].where)
    assert str(between.port) in said["port"].what
    assert len(between.asked) == 2 and all(head.startswith(f"CONNECT {HOST}:8102 ") for head in between.asked)
    assert all("Proxy-Authorization: Basic" in head for head in between.asked)
    assert "s3cret" not in repr(said)


@pytest.mark.parametrize("refusal", ["403 Forbidden", "407 Proxy Authentication Required", "502 Bad Gateway"])
def test_a_proxy_that_refuses_is_named_with_its_reason(
    kits: Kits, server: int, monkeypatch: pytest.MonkeyPatch, refusal: str
) -> None:
    with proxy(server, refuses=refusal) as between:
        monkeypatch.setenv("https_proxy", f"http://{LOOPBACK}:{between.port}")
        said = found(kits)
    assert said["port"].level == "fail" and refusal.split()[0] in str(said["port"].value)
    assert "proxy" in str(said["port"].remedy) and "CONNECT" in str(said["port"].remedy)
    assert said["tls"].level == "skip"


def test_without_the_proxy_the_name_is_not_known(kits: Kits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", f"http://{LOOPBACK}:{free_port()}")
    monkeypatch.setenv("no_proxy", HOST)
    said = found(kits)
    assert said["dns"].level == "fail" and said["dns"].where == HOST
    assert {said["port"].level, said["tls"].level} == {"skip"}


def test_a_proxy_that_is_not_there_is_named_and_not_the_server(kits: Kits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", f"http://{LOOPBACK}:{free_port()}")
    assert "proxy" in found(kits)["port"].what
    monkeypatch.setenv("https_proxy", "http://proxy.fedward.test:3128")
    said = found(kits)["dns"]
    assert said.level == "fail" and said.where == "proxy.fedward.test" and "proxy" in said.what


def test_a_proxy_in_capitals_is_one_that_grpc_does_not_read(kits: Kits) -> None:
    case = case_of(kits.sites["north"], environment={"HTTPS_PROXY": "http://proxy.example.org:3128"})
    (heard,) = examine(case, checks=WAY[:1])
    assert [(one.level, one.where) for one in heard.findings if one.level == "warn"] == [("warn", "HTTPS_PROXY")]


@contextmanager
def pointed(kits: Kits, port: int, tmp_path: Path) -> Iterator[Kits]:
    """The site's kit, to this machine."""
    import shutil

    kit = Path(shutil.copytree(kits.sites["north"], tmp_path / "kit"))

    def point(client: dict[str, list[dict[str, dict[str, str]]]]) -> None:
        client["servers"][0]["service"]["target"] = f"{LOOPBACK}:{port}"

    change(kit / "startup" / "fed_client.json", point)
    yield replace(kits, sites={"north": kit})


def test_somebody_who_takes_connections_and_says_nothing_is_given_up_soon(kits: Kits, tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as silent, pointed(kits, silent.getsockname()[1], tmp_path) as there:
        start = time.monotonic()
        said = found(there, limits=Limits(answer_s=0.5))
        assert time.monotonic() - start < 5
    assert (said["port"].level, said["tls"].level) == ("pass", "fail")
    assert said["tls"].remedy


def test_a_server_by_another_name_than_its_certificates_is_refused(kits: Kits, server: int, tmp_path: Path) -> None:
    with pointed(kits, server, tmp_path) as there:
        said = found(there)
    assert (said["port"].level, said["tls"].level) == ("pass", "fail")
    assert "certificate" in said["tls"].what and said["tls"].remedy
