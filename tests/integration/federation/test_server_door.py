"""Check a real server's listener: which connections it admits, which it refuses, and when it cuts revoked ones."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from fedward.demo.federate import await_sites, federation_of
from fedward.errors import FederationError
from fedward.flare.admin_session import Console, console
from fedward.flare.kits.central import Kits, provision
from fedward.flare.local_federation import LocalFederation, free_port
from fedward.provisioning.crl import CRL_FILE, make_crl
from fedward.provisioning.network.health import LARGEST_PAYLOAD, hello
from fedward.provisioning.stamp import package_hash
from fedward.settings import FederationSpec
from fedward.settings.federation import Person

pytestmark = pytest.mark.integration

LEAD, MEMBER = "lead@demo.org", "member@demo.org"
SOON_S = 5.0
"""Two at most on an idle machine; the measured time is printed."""
DAY = timedelta(days=1)


@dataclass
class Operator:
    """The federation's authority, and what it has revoked so far."""

    root: x509.Certificate
    key: RSAPrivateKey = field(repr=False)
    crl: Path
    revoked: dict[int, datetime] = field(default_factory=dict)
    number: int = 1

    @classmethod
    def of(cls, state: Path, kits: Kits) -> Operator:
        key = load_pem_private_key((state / "rootCA.key").read_bytes(), None)
        assert isinstance(key, RSAPrivateKey)
        root = x509.load_pem_x509_certificate((state / "rootCA.pem").read_bytes())
        return cls(root=root, key=key, crl=kits.server / "local" / CRL_FILE)

    def revoke(self, certificate: x509.Certificate) -> None:
        self.revoked[certificate.serial_number] = datetime.now(UTC)
        self.publish()

    def publish(self) -> None:
        self.number += 1
        self.write(make_crl(root=self.root, key=self.key, revoked=self.revoked, number=self.number))

    def write(self, content: bytes) -> None:
        draft = self.crl.with_suffix(".new")
        draft.write_bytes(content)
        draft.replace(self.crl)


@dataclass(frozen=True)
class Open:
    """A running federation whose server checks connections."""

    spec: FederationSpec
    kits: Kits
    federation: LocalFederation
    session: Console
    operator: Operator

    def log(self) -> str:
        return (self.kits.server / "console.log").read_text()


def made(out: Path, sites: list[str]) -> tuple[FederationSpec, Kits, Operator]:
    """Kits, and the operator who made them."""
    spec = federation_of(sites, port=free_port())
    member = Person(email=MEMBER, organisation="operator", role="member")
    spec = spec.model_copy(update={"people": (*spec.people, member)})
    kits = provision(spec, out)
    operator = Operator.of(out / spec.name / "state", kits)
    operator.publish()
    return spec, kits, operator


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    spec, kits, operator = made(tmp_path_factory.mktemp("door"), ["north", "south"])
    with LocalFederation(spec, kits, threads=1) as federation, console(kits.people[LEAD]) as session:
        await_sites(federation, session, kits, spec)
        yield Open(spec, kits, federation, session, operator)


def soon(condition: Callable[[], bool], *, within_s: float) -> float:
    """Seconds until a condition holds."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < within_s, "it does not come"
        time.sleep(0.05)
    return time.monotonic() - start


def certificate(kit: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((kit / "startup" / "client.crt").read_bytes())


def issue(kit: Path, out: Path, *, root: x509.Certificate, key: RSAPrivateKey, days: int = 30) -> Path:
    """A copy of a site's kit with a new key and certificate of the same name, signed by ``key`` as ``root``."""
    shutil.copytree(kit, out, ignore=shutil.ignore_patterns("*.log", "log.*", "pid*"))
    own = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    like = certificate(kit)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    builder = x509.CertificateBuilder().subject_name(like.subject).issuer_name(root.subject)
    builder = builder.public_key(own.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(datetime.now(UTC) - 2 * DAY).not_valid_after(datetime.now(UTC) + days * DAY)
    for extension in like.extensions:
        if not isinstance(extension.value, x509.AuthorityKeyIdentifier | x509.SubjectKeyIdentifier):
            builder = builder.add_extension(extension.value, critical=extension.critical)
    builder = builder.add_extension(identifier, critical=False)
    (out / "startup" / "client.crt").write_bytes(builder.sign(key, SHA256()).public_bytes(Encoding.PEM))
    pem = own.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    (out / "startup" / "client.key").write_bytes(pem)
    return out


def foreign(name: str = "demo") -> tuple[x509.Certificate, RSAPrivateKey]:
    """An authority of somebody else, of the same name."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(datetime.now(UTC) - DAY)
    builder = builder.not_valid_after(datetime.now(UTC) + 30 * DAY)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(key, SHA256()), key


def knock(port: int, kit: Path | None, *, highest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> str:
    """Return the TLS version of the server's connection to a client, or the error."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.maximum_version = highest
    context.set_alpn_protocols(["h2"])
    if kit is not None:
        context.load_cert_chain(kit / "startup" / "client.crt", kit / "startup" / "client.key")
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
        try:
            with context.wrap_socket(plain) as secured:
                return f"{secured.version()}{'' if secured.recv(1) else ', hangs up'}"
        except (ssl.SSLEOFError, ConnectionError):
            return "no handshake"


def test_tls_1_3_with_a_certificate_of_the_federation_or_nothing(door: Open, tmp_path: Path) -> None:
    port, north = door.spec.server.port, door.kits.sites["north"]
    root, key = foreign()
    others = {
        "another authority": issue(north, tmp_path / "another", root=root, key=key),
        "expired": issue(north, tmp_path / "old", root=door.operator.root, key=door.operator.key, days=-1),
    }
    self_made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    others["self-made"] = issue(north, tmp_path / "self" / "made", root=certificate(north), key=self_made)
    assert knock(port, north) == "TLSv1.3"
    assert knock(port, north, highest=ssl.TLSVersion.TLSv1_2) == "no handshake"
    assert knock(port, None) != "TLSv1.3"
    assert {how: knock(port, kit) for how, kit in others.items()} == dict.fromkeys(others, "TLSv1.3, hangs up")


def test_every_other_port_of_the_server_is_loopback_only(door: Open) -> None:
    import psutil

    process = next(one for one in door.federation.processes() if "server_train" in " ".join(one.cmdline()))
    listening = [one.laddr for one in process.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
    assert door.spec.server.port in {address.port for address in listening}
    others = {address.ip for address in listening if address.port != door.spec.server.port}
    assert others <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_hello_tells_the_time_and_what_runs_there(door: Open) -> None:
    said = hello(door.kits.sites["south"], timeout_s=20, payload_bytes=2**20)
    assert said.sent_at - 0.1 <= said.server_time <= said.received_at + 0.1
    assert said.wheel == package_hash()
    assert said.upload_bytes_per_s is not None
    assert said.download_bytes_per_s is not None
    assert min(said.upload_bytes_per_s, said.download_bytes_per_s) > 2**20
    assert hello(door.kits.sites["south"], timeout_s=20).upload_bytes_per_s is None


def test_hello_answers_nothing_else(door: Open) -> None:
    startup = door.kits.sites["south"] / "startup"
    root, key, own = ((startup / name).read_bytes() for name in ("rootCA.pem", "client.key", "client.crt"))
    address = f"localhost:{door.spec.server.port}"
    with grpc.secure_channel(address, grpc.ssl_channel_credentials(root, key, own)) as channel:

        def code(*messages: bytes, method: str = "/fedward.Hello/Say", timeout: float | None = 10) -> grpc.StatusCode:
            with pytest.raises(grpc.RpcError) as caught:
                channel.stream_unary(method)(iter(messages), timeout=timeout)
            return caught.value.code()  # type: ignore[no-any-return, attr-defined]

        too_much = json.dumps({"download": LARGEST_PAYLOAD + 1}).encode()
        for messages in ((), (b"no",), (too_much,), (b"{}", b"more"), (b'{"upload": 3}', b"1"), (b'{"who": 1}',)):
            assert code(*messages) is grpc.StatusCode.INVALID_ARGUMENT
        assert code(b"{}", timeout=None) is grpc.StatusCode.INVALID_ARGUMENT
        assert code(b"{}", method="/fedward.Hello/List") is grpc.StatusCode.UNIMPLEMENTED


def test_hello_gives_the_exact_reason(door: Open, tmp_path: Path) -> None:
    north = door.kits.sites["north"]
    root, key = foreign()
    stranger = issue(north, tmp_path / "stranger", root=root, key=key)
    with pytest.raises(FederationError, match="refuses this kit's certificate"):
        hello(stranger, timeout_s=10)
    (stranger / "startup" / "rootCA.pem").write_bytes(root.public_bytes(Encoding.PEM))
    with pytest.raises(FederationError, match="server's certificate is refused"):
        hello(stranger, timeout_s=10)


@pytest.mark.parametrize("fault", ["deleted", "garbled", "foreign", "older"])
def test_a_broken_list_opens_nothing_and_disturbs_nobody_inside(door: Open, tmp_path: Path, fault: str) -> None:
    operator = door.operator
    out = issue(door.kits.sites["south"], tmp_path / "out", root=operator.root, key=operator.key)
    operator.revoke(certificate(out))
    with pytest.raises(FederationError, match="certificate revoked"):
        hello(out, timeout_s=10)
    if fault == "deleted":
        operator.crl.unlink()
    elif fault == "garbled":
        operator.write(operator.crl.read_bytes()[:-40])
    elif fault == "foreign":
        root, key = foreign()
        operator.write(make_crl(root=root, key=key, revoked={}, number=operator.number + 1))
    else:
        operator.write(make_crl(root=operator.root, key=operator.key, revoked={}, number=1))
    with pytest.raises(FederationError, match="certificate revoked"):
        hello(out, timeout_s=10)
    if fault == "older":
        hello(door.kits.sites["south"], timeout_s=10)
        assert "older than" in door.log()
    else:
        with pytest.raises(FederationError, match="no valid list"):
            hello(door.kits.sites["south"], timeout_s=10)
        assert "nobody new is let in" in door.log()
    assert door.session.connected() == {"north", "south"}
    operator.publish()
    hello(door.kits.sites["south"], timeout_s=10)


def test_a_revoked_person_is_cut_and_cannot_sign_in(door: Open) -> None:
    kit = door.kits.people[MEMBER]
    with console(kit) as session:
        assert session.connected() == {"north", "south"}
        door.operator.revoke(certificate(kit))
        line = f"certificate of '{MEMBER}' is revoked: its connection is cut"
        soon(lambda: line in door.log(), within_s=SOON_S)
    with pytest.raises(FederationError), console(kit, timeout_s=3.0):
        pass
    assert door.session.connected() == {"north", "south"}


def test_a_revoked_hospital_is_out_at_once_and_may_come_back_with_a_new_certificate(door: Open, tmp_path: Path) -> None:
    kit, south = door.kits.sites["north"], "SSL south] is closed"
    again = issue(kit, tmp_path / "north", root=door.operator.root, key=door.operator.key)
    before = door.log().count(south)
    door.operator.revoke(certificate(kit))
    line = "certificate of 'north' is revoked: its connection is cut"
    took_s = soon(lambda: line in door.log(), within_s=SOON_S)
    print(f"cut {took_s:.2f} s after the list was written")
    soon(lambda: door.session.connected() == {"south"}, within_s=SOON_S)
    with pytest.raises(FederationError, match="certificate revoked"):
        hello(kit, timeout_s=10)
    soon(lambda: "'north' is not let in: certificate revoked" in door.log(), within_s=30)
    assert door.session.connected() == {"south"}
    door.federation.start("north again", again)
    soon(lambda: door.session.connected() == {"north", "south"}, within_s=60)
    time.sleep(1.5)  # the watch looks again: it must not sign out the one who came back
    assert door.session.connected() == {"north", "south"}
    assert door.log().count(south) == before


BREAK_FLOOR = """
import os
before = os.environ.pop("GRPC_SSL_CIPHER_SUITES", None)
import grpc
if before is not None:
    os.environ["GRPC_SSL_CIPHER_SUITES"] = before
"""


@pytest.mark.parametrize(
    ("fault", "says"), [("no list", "revocation list cannot be read"), ("TLS 1.2", "gRPC still takes TLS 1.2")]
)
def test_a_server_without_its_door_does_not_start(tmp_path: Path, fault: str, says: str) -> None:
    spec, kits, operator = made(tmp_path / "kits", ["north"])
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    if fault == "no list":
        operator.crl.unlink()
    else:
        (tmp_path / "sitecustomize.py").write_text(BREAK_FLOOR)
        environment["PYTHONPATH"] = str(tmp_path)
    process = subprocess.Popen(
        ["bash", str(kits.server / "startup" / "sub_start.sh"), "--once"],
        cwd=kits.server,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        end = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < end:
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", spec.server.port)) != 0, "it listens"
            time.sleep(0.05)
        assert process.poll() == 1
    finally:
        process.kill()
        said = process.communicate(timeout=10)[0]
    assert says in said
    assert "Traceback" not in said
