"""Check access to the dashboard: other machines need the token over TLS; without it only loopback's name is served."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fedward.dashboard.access import COOKIE, MOST_FAILURES, Failures, require_safe, session, signed_in
from fedward.dashboard.app import create_app
from fedward.dashboard.headers import POLICY
from fedward.dashboard.store_handle import StoreHandle
from fedward.dashboard.stream import Streams
from fedward.errors import SettingsError
from fedward.metrics.store import Store
from tests.support.metrics_store import fill

TOKEN = "0123456789abcdef0123456789abcdef"
PATHS = ("/metrics", "/api/federation", "/api/jobs/x", "/api/sites/x", "/api/stream", "/static/app.js")


class Asking:
    """Asks the application without a socket, as one browser does: it keeps its cookies and follows no redirection."""

    def __init__(self, path: Path, token: str | None, base: str) -> None:
        self._source = StoreHandle(path)
        self._app = create_app(self._source, Streams(self._source), token=None if token is None else token.encode())
        self._base, self._cookies = base, httpx.Cookies()

    def __enter__(self) -> Asking:
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()

    def get(self, path: str, **kwargs: Any) -> httpx.Response:
        return self.request("GET", path, **kwargs)

    def post(self, path: str, **kwargs: Any) -> httpx.Response:
        return self.request("POST", path, **kwargs)

    def request(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            way = httpx.ASGITransport(app=self._app)
            async with httpx.AsyncClient(transport=way, base_url=self._base, cookies=self._cookies) as browser:
                answer = await browser.request(method, path, **kwargs)
                self._cookies = browser.cookies
                return answer

        return asyncio.run(ask())


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Asking]:
    with Asking(tmp_path / "metrics.db", None, "http://127.0.0.1:8600") as asking:
        yield asking


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Asking]:
    with Asking(tmp_path / "metrics.db", TOKEN, "https://dashboard.example") as asking:
        yield asking


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n", encoding="ascii")
    file.chmod(0o600)
    return file


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    file = tmp_path / "some.pem"
    file.write_text("", encoding="ascii")
    return file


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.7", "::1", "localhost"])
def test_loopback_needs_nothing(host: str) -> None:
    assert require_safe(host, token_file=None, certificate=None, key=None) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.4", "dashboard.example", ""])
def test_elsewhere_needs_all_three(host: str, token_file: Path, pem: Path) -> None:
    for given in (
        {},
        {"token_file": token_file},
        {"certificate": pem, "key": pem},
        {"token_file": token_file, "certificate": pem},
    ):
        with pytest.raises(SettingsError, match="token"):
            require_safe(host, **{"token_file": None, "certificate": None, "key": None, **given})
    assert require_safe(host, token_file=token_file, certificate=pem, key=pem) == TOKEN.encode()


def test_a_token_is_never_sent_in_the_clear(token_file: Path) -> None:
    with pytest.raises(SettingsError, match="over TLS alone"):
        require_safe("127.0.0.1", token_file=token_file, certificate=None, key=None)


@pytest.mark.parametrize("content", ["", "short", TOKEN[:31], f"{TOKEN[:16]} {TOKEN[16:]}", "ü" * 32])
def test_a_poor_token_is_refused(token_file: Path, pem: Path, content: str) -> None:
    token_file.write_text(content, encoding="utf-8")
    with pytest.raises(SettingsError, match="not one word of at least 32") as refused:
        require_safe("0.0.0.0", token_file=token_file, certificate=pem, key=pem)
    assert not content or content not in str(refused.value)


def test_a_token_that_others_can_read_is_refused(token_file: Path, pem: Path) -> None:
    token_file.chmod(0o640)
    with pytest.raises(SettingsError, match="others than its owner"):
        require_safe("0.0.0.0", token_file=token_file, certificate=pem, key=pem)


@pytest.mark.parametrize("path", ["/", "/healthz", *PATHS])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:8600", "127.0.0.1.evil.example", "10.0.0.4", "", "::1"])
def test_another_name_for_loopback_is_no_way_in(local: Asking, path: str, host: str) -> None:
    answer = local.get(path, headers={"Host": host})
    assert answer.status_code == 421
    assert answer.json() == {"error": "this address serves loopback names alone"}


@pytest.mark.parametrize("host", ["localhost", "localhost:8600", "127.0.0.1:9", "[::1]:8600", "LOCALHOST"])
def test_loopback_names_are_served(local: Asking, host: str) -> None:
    assert local.get("/api/federation", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Cookie": f"{COOKIE}={TOKEN}"},
        {"Cookie": f"{COOKIE}=99999999999.{'0' * 64}"},
    ],
)
def test_without_the_token_there_is_nothing(guarded: Asking, path: str, headers: dict[str, str]) -> None:
    answer = guarded.get(path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert set(answer.json()) == {"error"}


def test_the_token_lets_in_and_the_front_door_leads_to_signing_in(guarded: Asking) -> None:
    assert guarded.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    front = guarded.get("/")
    assert (front.status_code, front.headers["Location"]) == (303, "/login")
    page = guarded.get("/login")
    assert page.status_code == 200
    for file in ("/static/login.js", "/static/login.css"):
        assert file in page.text
        assert guarded.get(file).status_code == 200
    assert guarded.get("/healthz").text == "ok\n"


def test_signing_in_gives_a_cookie_that_no_script_reads_and_that_lets_in(guarded: Asking) -> None:
    done = guarded.post("/login", content=TOKEN + "\n")
    assert done.status_code == 204
    cookie = done.headers["Set-Cookie"].lower()
    assert cookie.startswith("__host-fedward=")
    for word in ("httponly", "secure", "samesite=strict", "path=/"):
        assert word in cookie
    assert "domain" not in cookie
    assert TOKEN not in done.headers["Set-Cookie"]
    assert guarded.get("/api/federation").status_code == 200


def test_a_wrong_or_endless_token_gives_no_cookie(guarded: Asking) -> None:
    for content, status in (("wrong", 401), ("x" * 5000, 413), ("", 401)):
        done = guarded.post("/login", content=content)
        assert (done.status_code, "Set-Cookie" in done.headers) == (status, False)


def test_a_session_ends_and_a_new_token_ends_all() -> None:
    cookie = session(TOKEN.encode(), until=1000)
    assert signed_in(cookie, TOKEN.encode(), now=1000)
    assert not signed_in(cookie, TOKEN.encode(), now=1000.5)
    assert not signed_in(cookie, b"another" * 5, now=1)
    assert not signed_in(cookie.replace("1000.", "2000."), TOKEN.encode(), now=1)
    for odd in ("", ".", "1000", "x.y", "9" * 5000, "²."):
        assert not signed_in(odd, TOKEN.encode(), now=1)


def test_who_guesses_has_to_wait_even_with_the_right_one(guarded: Asking) -> None:
    for _ in range(MOST_FAILURES):
        assert guarded.post("/login", content="wrong").status_code == 401
    right = {"Authorization": f"Bearer {TOKEN}"}
    refused = guarded.get("/metrics", headers=right)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")


def test_waiting_ends_and_addresses_are_apart_and_bounded() -> None:
    now = [0.0]
    failures = Failures(lambda: now[0])
    for _ in range(MOST_FAILURES):
        assert not failures.blocked("a")
        failures.add("a")
    assert failures.blocked("a")
    assert not failures.blocked("b")
    now[0] = 61.0
    assert not failures.blocked("a")
    for number in range(5000):
        failures.add(str(number))
    assert len(failures._of) <= 1024


@pytest.mark.parametrize(
    "path", ["/", "/login", "/healthz", "/nothing", *(path for path in PATHS if "stream" not in path)]
)
def test_every_answer_carries_the_policy(local: Asking, guarded: Asking, path: str) -> None:
    for asking in (local, guarded):
        answer = asking.get(path)
        assert answer.headers["Content-Security-Policy"] == POLICY
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        if path.startswith("/api"):
            assert answer.headers["Cache-Control"] == "no-store"
    assert "unsafe" not in POLICY


def test_data_goes_to_no_other_origin_and_cannot_be_changed(local: Asking) -> None:
    answer = local.get("/api/federation", headers={"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in answer.headers
    for method in ("POST", "PUT", "DELETE"):
        assert local.request(method, "/api/federation").status_code == 405


@pytest.mark.parametrize("path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2faccess.py", "/static/"])
def test_nothing_beside_the_pages_files_is_served(local: Asking, path: str) -> None:
    answer = local.get(path)
    assert answer.status_code == 404
    assert answer.json() == {"error": "nothing at this address"}


def test_the_store_may_come_later_and_be_replaced(local: Asking, tmp_path: Path) -> None:
    path = tmp_path / "metrics.db"
    assert local.get("/api/federation").json()["jobs"] == []
    with Store.open(path, create=True) as store:
        fill(store, jobs=2)
    assert len(local.get("/api/federation").json()["jobs"]) == 2
    path.unlink()
    assert local.get("/api/federation").json()["jobs"] == []
    with Store.open(path, create=True) as store:
        fill(store, jobs=1)
    assert len(local.get("/api/federation").json()["jobs"]) == 1
    assert local.get("/api/jobs/nobody").status_code == 404


def test_another_programs_file_is_a_line_and_no_crash(local: Asking, tmp_path: Path) -> None:
    (tmp_path / "metrics.db").write_bytes(b"other")
    answer = local.get("/api/federation")
    assert answer.status_code == 503
    assert "not a metrics store" in answer.json()["error"]
    assert local.get("/metrics").status_code == 503
