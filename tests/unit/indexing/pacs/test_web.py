"""Check DICOMweb with real HTTP servers on loopback: who gets the credentials, and the messages on failure."""

from __future__ import annotations

import datetime
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fedward.errors import CohortError, SettingsError
from fedward.indexing.pacs import echo
from fedward.indexing.pacs.archive import CutShortError, Series, SilentArchiveError
from fedward.indexing.pacs.web import WebArchive, read_credentials
from fedward.settings import Pacs
from fedward.settings.read import parse

Answer = Callable[[BaseHTTPRequestHandler], tuple[int, dict[str, str], bytes]]


@contextmanager
def serving(answer: Answer, *, tls: ssl.SSLContext | None = None) -> Iterator[tuple[int, list[Any]]]:
    """A server that answers as ``answer`` says; gives its port and the requests it has had."""
    had: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            had.append((self.path, dict(self.headers)))
            status, headers, body = answer(self)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *given: object) -> None:
            return

    class Server(ThreadingHTTPServer):
        def handle_error(self, *given: object) -> None:
            return

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_address[1], had
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def pacs(port: int, **changed: Any) -> Pacs:
    given = {"protocol": "dicomweb", "url": f"http://127.0.0.1:{port}/dicom-web", "timeout_s": 3.0}
    return Pacs(**{**given, "query": {"StudyDate": "2020-", "StudyDescription": "*"}, **changed})


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "reader.txt"
    path.write_text("reader:hush\n")
    path.chmod(0o600)
    return path


def empty(handler: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/dicom+json"}, b"[]"


def test_credentials_go_to_no_other_host(secret: Path) -> None:
    refused = pytest.raises(CohortError, match="archive redirects elsewhere")
    with serving(empty) as (elsewhere, stolen):
        target = f"http://localhost:{elsewhere}/dicom-web/studies"
        with serving(lambda handler: (302, {"Location": target}, b"")) as (port, had), refused:
            echo(pacs(port, credentials=secret))
    assert had[0][1]["Authorization"] == "Basic cmVhZGVyOmh1c2g=" and not stolen


@pytest.mark.parametrize(
    ("content", "header"), [("reader:hush\n", "Basic cmVhZGVyOmh1c2g="), ("Bearer abc.def\n", "Bearer abc.def")]
)
def test_credentials_are_read_from_a_file_of_their_owner_alone(tmp_path: Path, content: str, header: str) -> None:
    path = tmp_path / "c"
    path.write_text(content)
    for mode in (0o644, 0o640, 0o604, 0o660):
        path.chmod(mode)
        with pytest.raises(CohortError, match="others may read the credentials") as error:
            read_credentials(path)
        assert "hush" not in str(error.value)
    path.chmod(0o600)
    assert read_credentials(path) == header


@pytest.mark.parametrize("content", ["", "token", "Bearer", "Bearer a b", "user:pass\nX-Injected: 1", "Bearer é"])
def test_what_is_no_credentials_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "c"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(CohortError, match="no credentials in here"):
        read_credentials(path)
    with pytest.raises(CohortError, match="credentials cannot be read"):
        read_credentials(tmp_path / "absent")


def test_credentials_do_not_go_in_clear_beyond_this_machine(secret: Path) -> None:
    with pytest.raises(CohortError, match="credentials would go in clear"):
        WebArchive(pacs(1, url="http://archive.hospital.example/dicom-web", credentials=secret))


@pytest.mark.parametrize(
    "url",
    [
        "http://user:TOPSECRET@127.0.0.1:1/dicom-web",
        "https://TOPSECRET@archive.example/",
        "https://archive.example/x?token=TOPSECRET",
        "https://archive.example/x#TOPSECRET",
        "HTTPS://user:TOPSECRET@archive.example",
        "ftp://user:TOPSECRET@archive.example",
        "https://user:TOPSECRET@[::1",
        "https://user:TOPSECRET@archive.example:port/",
        "https://archive.example/TOP SECRET",
        "//user:TOPSECRET@archive.example",
        "TOPSECRET",
    ],
)
def test_a_url_with_a_secret_is_refused_and_never_printed(url: str) -> None:
    with pytest.raises(SettingsError) as error:
        parse(Pacs, {"protocol": "dicomweb", "url": url, "query": {"StudyDate": "2020"}}, where="site.toml")
    assert "SECRET" not in str(error.value) and "(not shown)" in str(error.value)


@pytest.mark.parametrize("url", ["http://LOCALHOST:1/x", "https://[::1]:8443/dicom-web/", "https://archive.example"])
def test_a_plain_url_is_taken(url: str) -> None:
    WebArchive(pacs(1, url=url)).close()


def test_the_host_header_has_the_port() -> None:
    with serving(empty) as (port, had):
        echo(pacs(port))
        assert had[0][1]["Host"] == f"127.0.0.1:{port}"


def test_the_archives_certificate_is_verified(tmp_path: Path, secret: Path) -> None:
    certificate = _self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serving(empty, tls=context) as (port, had):
        asked = {"url": f"https://127.0.0.1:{port}/dicom-web", "credentials": secret}
        with pytest.raises(CohortError, match="archive's certificate is not trusted"):
            echo(pacs(port, **asked))
        assert not had
        echo(pacs(port, **asked, ca=certificate))
        assert had
    with pytest.raises(CohortError, match="no such file"):
        echo(pacs(1, url="https://127.0.0.1:1/", ca=tmp_path / "absent.pem"))


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, CohortError, "archive does not let us in: 'HTTP 401'"),
        (503, SilentArchiveError, "archive is too busy"),
        (500, CohortError, "archive refused the question: 'HTTP 500'"),
    ],
)
def test_what_a_status_means(status: int, kind: type[CohortError], words: str) -> None:
    with serving(lambda handler: (status, {}, b"")) as (port, _), pytest.raises(kind, match=words):
        echo(pacs(port))


def test_an_answer_that_is_no_dicom_json_is_an_error() -> None:
    refused = pytest.raises(CohortError, match="archive refused the question: 'answer cannot be read")
    with serving(lambda handler: (200, {"Content-Type": "text/html"}, b"<p>sign in</p>")) as (port, _), refused:
        echo(pacs(port))


@pytest.mark.parametrize("paged", [True, False])
def test_studies_come_by_pages_however_short(paged: bool) -> None:
    """The archive gives two at a time whatever it is asked for, or knows no pages and gives all every time."""
    held = [{"0020000D": {"vr": "UI", "Value": [f"1.2.{n}"]}, "00080020": {"vr": "DA"}} for n in range(5)]

    def answer(handler: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        offset = int(parse_qs(urlsplit(handler.path).query)["offset"][0]) if paged else 0
        page = held[offset : offset + 2] if paged else held
        return 200, {"Content-Type": "application/dicom+json"}, json.dumps(page).encode()

    with serving(answer) as (port, had), closing(WebArchive(pacs(port))) as archive:
        studies = archive.studies()
    assert [one.uid for one in studies] == [f"1.2.{n}" for n in range(5)] and "StudyDate" in studies[0].answered
    assert "StudyDate=2020-" in had[0][0] and "StudyDescription=" not in had[0][0], "a lone star asks for nothing"


MORE = {"Content-Type": "application/dicom+json", "Warning": "299 hush: There are additional results"}
ONE = b'[{"0020000D": {"vr": "UI", "Value": ["1.2"]}}]'


@pytest.mark.parametrize(("status", "headers"), [(200, MORE), (206, {"Content-Type": "application/dicom+json"})])
def test_a_list_cut_short_is_an_error_and_a_probe_for_one_study_is_none(
    status: int, headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with serving(lambda handler: (status, headers, ONE)) as (port, _), closing(WebArchive(pacs(port))) as archive:
        echo(pacs(port))
        with pytest.raises(CohortError, match="cut its list of studies short after 1, and does not page further"):
            archive.studies()
        for ask in (lambda: archive.series("1.2"), lambda: archive.instances(Series("1.2", "1.3", "CT", None))):
            with pytest.raises(CutShortError, match="cut-short") as cut:
                ask()
            assert len(cut.value.answers) == 1
    assert "hush" not in caplog.text, "an archive's own words are not printed"


@pytest.mark.parametrize("end", [404, 204])
@pytest.mark.parametrize("most", [1000, 200, 100, 50])
def test_a_page_past_the_end_and_a_limit_that_is_refused(end: int, most: int) -> None:
    held = [{"0020000D": {"vr": "UI", "Value": [f"1.2.{n}"]}} for n in range(250)]

    def answer(handler: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        asked = {name: int(one[0]) for name, one in parse_qs(urlsplit(handler.path).query).items() if one[0].isdigit()}
        if asked["limit"] > most:
            return 400, {}, b"limit outside allowed range"
        page = held[asked["offset"] :][: asked["limit"]]
        return (
            (200 if page else end),
            {"Content-Type": "application/dicom+json"},
            json.dumps(page).encode()[: None if page else 0],
        )

    with serving(answer) as (port, _), closing(WebArchive(pacs(port))) as archive:
        assert len(archive.studies()) == 250 and len(archive.series("1.2")) == 250


@pytest.mark.parametrize(("status", "asked"), [(404, 1), (400, 3)])
def test_a_first_page_that_is_refused_is_no_end(status: int, asked: int) -> None:
    with serving(lambda handler: (status, {}, b"")) as (port, had), closing(WebArchive(pacs(port))) as archive:
        with pytest.raises(CohortError, match=f"archive refused the question: 'HTTP {status}'"):
            archive.studies()
        assert len(had) == asked


def test_a_question_that_matches_too_much_is_an_error_that_says_so() -> None:
    refused = pytest.raises(CohortError, match=r"'HTTP 413'; narrow query in site.toml")
    with serving(lambda handler: (413, {}, b"")) as (port, _), closing(WebArchive(pacs(port))) as archive, refused:
        archive.studies()


def _self_signed(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + secret)
    return path
