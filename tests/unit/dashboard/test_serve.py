"""Check the service as a process: it binds loopback alone, reports changes, ends at once and leaves nothing behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest

from fedward.dashboard.background import BackgroundDashboard, start_background
from fedward.dashboard.stream import MOST_STREAMS
from fedward.errors import FederationError
from fedward.metrics.store import Store
from tests.support.authority import authority, key_pem, pem
from tests.support.command_line import typed
from tests.support.metrics_store import fill

TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[BackgroundDashboard, Path]]:
    path = tmp_path_factory.mktemp("kit") / "metrics.db"
    with start_background(path) as running:
        yield running, path


def start(*words: str | Path) -> tuple[subprocess.Popen[str], str]:
    """Start ``fedward dashboard`` as a person does; return it and the address that it prints."""
    command = [sys.executable, "-c", "from fedward.cli import main; main()", "dashboard", *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith("dashboard "):
        raise AssertionError(process.communicate(timeout=10))
    return process, line.removeprefix("dashboard ").strip()


def listening(process: int) -> set[str]:
    return {one.laddr.ip for one in psutil.Process(process).net_connections("inet") if one.status == psutil.CONN_LISTEN}


def test_it_waits_for_its_store_and_binds_loopback_alone(beside: tuple[BackgroundDashboard, Path]) -> None:
    running, path = beside
    assert httpx.get(f"{running.url}/api/federation").json()["jobs"] == []
    assert listening(running._process.pid) == {"127.0.0.1"}
    with Store.open(path, create=True) as store:
        (job,) = fill(store)
    assert [one["id"] for one in httpx.get(f"{running.url}/api/federation").json()["jobs"]] == [job]
    assert httpx.get(f"{running.url}/healthz").text == "ok\n"


def test_a_write_reaches_who_listens_and_who_comes_back(beside: tuple[BackgroundDashboard, Path]) -> None:
    running, path = beside
    with Store.open(path, create=True) as store:
        fill(store, first=7)
        with httpx.stream("GET", f"{running.url}/api/stream", timeout=10) as stream:
            assert stream.headers["Content-Type"].startswith("text/event-stream")
            lines = stream.iter_lines()
            assert next(lines) == ": open"
            before = store.cursor()
            store.write("news", {"event": "later", "at": time.time()})
            event = next_event(lines)
        assert event == {"id": str(before + 1), "event": "change", "cursor": before + 1, "jobs": ["news"]}
        back = {"Last-Event-ID": str(before - 2)}
        with httpx.stream("GET", f"{running.url}/api/stream", timeout=10, headers=back) as stream:
            assert next_event(stream.iter_lines())["jobs"] == ["00000007-made-up", "news"]


def next_event(lines: Iterator[str]) -> dict[str, object]:
    found: dict[str, object] = {}
    for line in lines:
        if not line and "data" in found:
            data = json.loads(str(found.pop("data")))
            return {**found, **data}
        name, _, value = line.partition(": ")
        if name:
            found[name] = value
    raise AssertionError("the stream ended")


def test_streams_are_bounded_and_a_closed_page_gives_its_place_back(beside: tuple[BackgroundDashboard, Path]) -> None:
    url, deadline = f"{beside[0].url}/api/stream", time.monotonic() + 10
    with httpx.Client(timeout=20, limits=httpx.Limits(max_connections=None)) as browser:
        with ExitStack() as pages:
            following = [pages.enter_context(browser.stream("GET", url)) for _ in range(MOST_STREAMS)]
            lines = [page.iter_lines() for page in following]
            assert {next(each) for each in lines} == {": open"}
            assert browser.get(url).status_code == 503
            assert browser.get(f"{beside[0].url}/healthz").text == "ok\n"
        while (status := followed(browser, url)) == 503 and time.monotonic() < deadline:
            time.sleep(0.05)
    assert status == 200


def followed(browser: httpx.Client, url: str) -> int:
    with browser.stream("GET", url) as stream:
        return stream.status_code


def test_old_jobs_are_forgotten_where_that_is_asked_for(tmp_path: Path) -> None:
    with Store.open(tmp_path / "metrics.db", create=True) as store:
        fill(store, now=time.time() - 3 * 86_400)
        (new,) = fill(store, first=1)
    process, url = start(tmp_path / "metrics.db", "--port", "0", "--keep-days", "2")
    try:
        deadline = time.monotonic() + 10
        while len(jobs := httpx.get(f"{url}/api/federation").json()["jobs"]) > 1 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert [job["id"] for job in jobs] == [new]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_within_two_seconds_while_pages_follow(tmp_path: Path, how: signal.Signals) -> None:
    with Store.open(tmp_path / "metrics.db", create=True) as store:
        fill(store)
    process, url = start(tmp_path / "metrics.db", "--port", "0")
    with httpx.stream("GET", f"{url}/api/stream", timeout=10) as stream:
        assert next(stream.iter_lines()) == ": open"
        begun = time.monotonic()
        process.send_signal(how)
        said, wrong = process.communicate(timeout=10)
        assert time.monotonic() - begun < 2
    assert (said, wrong) == ("", "")
    assert process.returncode == (0 if how is signal.SIGINT else -signal.SIGTERM)
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.db"], "no -wal, no -shm"
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/healthz")


def test_it_never_outlives_who_started_it(tmp_path: Path) -> None:
    words = (
        "import sys, time; from pathlib import Path; from fedward.dashboard.background import start_background; "
        f"b = start_background(Path({str(tmp_path / 'metrics.db')!r})); print(b._process.pid, flush=True); "
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", words], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        child = psutil.Process(int(starter.stdout.readline()))
        starter.kill()
    psutil.wait_procs([child], timeout=5)
    assert not child.is_running()


def test_a_start_that_fails_says_why(tmp_path: Path, beside: tuple[BackgroundDashboard, Path]) -> None:
    port = int(beside[0].url.rpartition(":")[2])
    with pytest.raises(FederationError, match="the dashboard cannot listen: 'Address already in use'"):
        start_background(tmp_path / "metrics.db", port=port)


def test_it_is_small(beside: tuple[BackgroundDashboard, Path]) -> None:
    words = "import sys; import fedward.cli, fedward.dashboard.serve; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert not {"torch", "monai", "nvflare", "grpc", "pandas", "scipy"} & set(done.stdout.split())
    assert psutil.Process(beside[0]._process.pid).memory_info().rss < 100e6


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["nowhere/metrics.db"], "no such folder"),
        (["."], "neither a store nor a server's kit"),
        (["absent"], "neither a store nor a server's kit"),
        (["metrics.db", "--host", "0.0.0.0"], "without a token over TLS"),
        (["other"], "not a metrics store"),
    ],
)
def test_a_refusal_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    line: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").write_bytes(b"text")
    assert typed(monkeypatch, "dashboard", *words) == 1
    assert line in capsys.readouterr().err.splitlines()[-1]


def test_elsewhere_it_speaks_tls_and_asks_for_the_token(tmp_path: Path) -> None:
    certificate, key, token = tmp_path / "some.crt", tmp_path / "some.key", tmp_path / "token"
    certificate.write_bytes(pem(authority().issue("127.0.0.1")))
    key.write_bytes(key_pem())
    token.write_text(TOKEN, encoding="ascii")
    token.chmod(0o600)
    given = ("--token-file", token, "--certificate", certificate, "--key", key)
    process, url = start(tmp_path / "metrics.db", "--port", "0", "--host", "0.0.0.0", *given)
    try:
        assert url.startswith("https://0.0.0.0:")
        near = url.replace("0.0.0.0", "127.0.0.1")
        assert httpx.get(f"{near}/metrics", verify=False).status_code == 401
        right = {"Authorization": f"Bearer {TOKEN}"}
        assert httpx.get(f"{near}/metrics", verify=False, headers=right).status_code == 200
        with pytest.raises(httpx.TransportError):
            httpx.get(near.replace("https", "http"))
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
