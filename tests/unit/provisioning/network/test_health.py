"""Check that a hello reports the exact obstacle, and the server's own answer."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

from fedward.errors import FederationError
from fedward.flare.listener.connection_guard import ConnectionGuard
from fedward.flare.listener.health import MOST_AT_ONCE, hello_handler
from fedward.flare.local_federation import free_port
from fedward.provisioning.crl import make_crl
from fedward.provisioning.network.connectivity import Endpoint, proxy_of
from fedward.provisioning.network.health import LARGEST_PAYLOAD, LONGEST_CALL_S, hello
from fedward.provisioning.stamp import package_hash
from tests.support.authority import ThrowAway, authority, key_pem, pem, site_kit

AUTHORITY = authority()
PROXIES = ("grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxy_but_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)


@contextmanager
def serving(*handlers: Any, of: ThrowAway = AUTHORITY, name: str = "localhost") -> Iterator[int]:
    """A gRPC server with mutual TLS on loopback."""
    server = grpc.server(ThreadPoolExecutor(max_workers=8))
    server.add_generic_rpc_handlers(handlers)
    pair = (key_pem(), pem(of.issue(name)))
    credentials = grpc.ssl_server_credentials([pair], root_certificates=pem(of.root), require_client_auth=True)
    port: int = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield port
    finally:
        server.stop(grace=None).wait(5)


def keeper(tmp_path: Path, *revoked: int) -> ConnectionGuard:
    path = tmp_path / "revoked.crl"
    dates = dict.fromkeys(revoked, datetime.now(UTC))
    path.write_bytes(make_crl(root=AUTHORITY.root, key=AUTHORITY.key, revoked=dates, number=1))
    return ConnectionGuard(path, root=AUTHORITY.root, log=lambda line: None)


def kit_for(tmp_path: Path, port: int, *, host: str = "localhost", **kwargs: Any) -> Path:
    return site_kit(tmp_path / "kit", kwargs.pop("of", AUTHORITY), target=f"{host}:{port}", **kwargs)


def answering(reply: bytes) -> Any:
    """Another server's idea of a hello."""

    def say(requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        list(requests)
        return reply

    handler = {"Say": grpc.stream_unary_rpc_method_handler(say)}
    return grpc.method_handlers_generic_handler("fedward.Hello", handler)


def test_it_carries_clock_versions_and_payload(tmp_path: Path) -> None:
    with serving(hello_handler(keeper(tmp_path))) as port:
        said = hello(kit_for(tmp_path, port), timeout_s=20, payload_bytes=LARGEST_PAYLOAD)
    assert said.sent_at <= said.server_time <= said.received_at
    assert said.upload_bytes_per_s is not None
    assert said.download_bytes_per_s is not None
    assert len(said.wheel) == len(package_hash())


@pytest.mark.parametrize("payload_bytes", [-1, LARGEST_PAYLOAD + 1])
def test_it_is_of_bounded_size_and_time(tmp_path: Path, payload_bytes: int) -> None:
    kit = kit_for(tmp_path, 1)
    with pytest.raises(FederationError, match="8 MiB"):
        hello(kit, timeout_s=5, payload_bytes=payload_bytes)
    with pytest.raises(FederationError, match="120 s"):
        hello(kit, timeout_s=LONGEST_CALL_S + 1)


def test_a_revoked_certificate_is_told_so(tmp_path: Path) -> None:
    revoked = AUTHORITY.issue("north", serial=77)
    with serving(hello_handler(keeper(tmp_path, 77))) as port:
        with pytest.raises(FederationError, match=r"localhost:\d+: server refuses this kit, certificate revoked"):
            hello(kit_for(tmp_path, port, certificate=revoked), timeout_s=10)
        hello(site_kit(tmp_path / "renewed", AUTHORITY, target=f"localhost:{port}"), timeout_s=10)


def test_no_more_than_a_few_are_answered_at_once(tmp_path: Path) -> None:
    with serving(hello_handler(keeper(tmp_path))) as port:
        kit = kit_for(tmp_path, port)
        root, certificate, key = Endpoint.of(kit).credentials()
        credentials = grpc.ssl_channel_credentials(root, key, certificate)
        end = threading.Event()

        def slow() -> Iterator[bytes]:
            yield b'{"upload": 1}'
            end.wait(90)
            yield b"x"

        with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
            say = channel.stream_unary("/fedward.Hello/Say")
            held = [say.future(slow(), timeout=100) for _ in range(MOST_AT_ONCE)]
            try:
                until = time.monotonic() + 60
                with pytest.raises(FederationError, match="busy"):
                    while time.monotonic() < until:  # the held calls may still be on their way
                        assert not any(call.done() for call in held), [call.code() for call in held if call.done()]
                        hello(kit, timeout_s=10)
            finally:
                end.set()
            assert all(call.result(timeout=10) for call in held)
        hello(kit, timeout_s=10)


def test_a_certificate_of_nobody_is_refused_with_the_side_that_refuses(tmp_path: Path) -> None:
    other = authority()
    with serving(hello_handler(keeper(tmp_path))) as port:
        expired = AUTHORITY.issue("north", days=-1)
        with pytest.raises(FederationError, match="server refuses this kit's certificate"):
            hello(kit_for(tmp_path, port, certificate=expired), timeout_s=10)
        stranger = site_kit(tmp_path / "stranger", other, target=f"localhost:{port}")
        with pytest.raises(FederationError, match="server's certificate is refused"):
            hello(stranger, timeout_s=10)
    with (
        serving(hello_handler(keeper(tmp_path)), name="elsewhere.org") as port,
        pytest.raises(FederationError, match=r"server's certificate is refused, Hostname mismatch.*'localhost'"),
    ):
        hello(site_kit(tmp_path / "name", AUTHORITY, target=f"localhost:{port}"), timeout_s=10)


@pytest.mark.parametrize(
    "reply", [b"", b"{}\n", b"[]", b'{"time": NaN, "fedward": "1", "flare": "1", "wheel": ""}\n', b"\xff" * 9]
)
def test_another_servers_answer_is_not_believed(tmp_path: Path, reply: bytes) -> None:
    with serving(answering(reply)) as port, pytest.raises(FederationError, match="cannot be read"):
        hello(kit_for(tmp_path, port), timeout_s=10)


def test_a_grpc_server_without_a_hello_is_not_fedwards(tmp_path: Path) -> None:
    with serving() as port, pytest.raises(FederationError, match="not a Fedward server"):
        hello(kit_for(tmp_path, port), timeout_s=10)


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP port that does one thing to whoever comes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    peer, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(peer,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def speak(line: bytes) -> Callable[[socket.socket], None]:
    def answer(peer: socket.socket) -> None:
        with peer:
            peer.recv(1)
            peer.sendall(line)

    return answer


def test_where_it_ends_is_said(tmp_path: Path) -> None:
    with pytest.raises(FederationError, match="connection is refused"):
        hello(kit_for(tmp_path / "closed", free_port()), timeout_s=5)
    with pytest.raises(FederationError, match="host name is not known"):
        hello(kit_for(tmp_path / "unknown", 1, host="nowhere.invalid"), timeout_s=5)
    with (
        listening(speak(b"HTTP/1.0 400 Bad Request\r\n\r\n")) as port,
        pytest.raises(FederationError, match=r"no TLS 1\.3 there, wrong version number"),
    ):
        hello(kit_for(tmp_path / "plain", port), timeout_s=5)
    rest = threading.Event()
    with listening(lambda peer: (rest.wait(10), peer.close())[1]) as port:
        with pytest.raises(FederationError, match="no TLS answer"):
            hello(kit_for(tmp_path / "silent", port), timeout_s=0.5)
        rest.set()


def test_a_kit_that_cannot_serve_is_named(tmp_path: Path) -> None:
    with pytest.raises(FederationError, match="not a site's kit"):
        hello(tmp_path, timeout_s=5)
    kit = kit_for(tmp_path, 1)
    (kit / "startup" / "client.key").write_text("no key")
    with pytest.raises(FederationError, match="do not belong together") as caught:
        hello(kit, timeout_s=5)
    assert "no key" not in str(caught.value)
    (kit / "startup" / "client.key").unlink()
    with pytest.raises(FederationError, match=r"client\.key: cannot be read"):
        hello(kit, timeout_s=5)
    for target in ("localhost", ":1", "localhost:x", "localhost:70000", 3):
        content = json.loads((kit / "startup" / "fed_client.json").read_text())
        content["servers"][0]["service"]["target"] = target
        (kit / "startup" / "fed_client.json").write_text(json.dumps(content))
        with pytest.raises(FederationError, match="where the server is"):
            hello(kit, timeout_s=5)


def test_a_proxy_is_followed_but_not_to_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    assert proxy_of("hospital.org") is None
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    found = proxy_of("hospital.org")
    assert found is not None
    assert (found.hostname, found.port) == ("proxy.example", 3128)
    assert [proxy_of(host) for host in ("localhost", "LOCALHOST.", "127.0.0.1", "127.9.9.9", "::1")] == [None] * 5
    monkeypatch.setenv("no_proxy", "example.net, .hospital.org")
    assert proxy_of("fl.hospital.org") is None
    assert proxy_of("hospital.com") is not None


def proxying(to: int, seen: list[bytes], *, verdict: bytes = b"200 OK") -> Callable[[socket.socket], None]:
    """An HTTP proxy that takes CONNECT to one port of loopback, whatever name it is asked for."""

    def pump(source: socket.socket, target: socket.socket) -> None:
        try:
            while block := source.recv(65536):
                target.sendall(block)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def answer(peer: socket.socket) -> None:
        asked = b""
        while b"\r\n\r\n" not in asked:
            asked += peer.recv(4096)
        seen.append(asked)
        peer.sendall(b"HTTP/1.1 " + verdict + b"\r\n\r\n")
        if not verdict.startswith(b"200"):
            peer.close()
            return
        with peer, socket.create_connection(("127.0.0.1", to)) as server:
            back = threading.Thread(target=pump, args=(server, peer), daemon=True)
            back.start()
            pump(peer, server)
            back.join(10)

    return answer


def test_through_a_proxy_with_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    with serving(hello_handler(keeper(tmp_path)), name="fl.example") as port, listening(proxying(port, seen)) as proxy:
        kit = kit_for(tmp_path, 8003, host="fl.example")
        monkeypatch.setenv("https_proxy", f"http://user:pass%40@127.0.0.1:{proxy}")
        assert hello(kit, timeout_s=20).fedward
    assert len(seen) == 2  # ours, and gRPC's
    assert all(asked.startswith(b"CONNECT fl.example:8003 ") for asked in seen)
    assert all(b"roxy-" in asked and b"Basic dXNlcjpwYXNzQA==" in asked for asked in seen)


def test_a_proxy_that_refuses_is_named_without_its_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(proxying(1, [], verdict=b"403 Forbidden")) as proxy:
        monkeypatch.setenv("https_proxy", f"http://user:secret@127.0.0.1:{proxy}")
        with pytest.raises(FederationError, match=rf"proxy 127.0.0.1:{proxy}: cannot be reached.*403") as caught:
            hello(kit_for(tmp_path, 8003, host="fl.example"), timeout_s=10)
    assert "secret" not in str(caught.value)
