"""Signing in to a dashboard that other machines can reach, in real Chromium over TLS."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from fedward.metrics.store import Store
from tests.support.authority import authority, key_pem, pem
from tests.support.metrics_store import fill
from tests.support.packages import needs

pytestmark = pytest.mark.integration

TOKEN = "0123456789abcdef0123456789abcdef"


def test_a_person_signs_in_with_the_token_and_sees_the_federation(tmp_path: Path) -> None:
    needs("chromium")
    with Store.open(tmp_path / "metrics.db", create=True) as store:
        fill(store)
    certificate, key, token = tmp_path / "some.crt", tmp_path / "some.key", tmp_path / "token"
    certificate.write_bytes(pem(authority().issue("localhost")))
    key.write_bytes(key_pem())
    token.write_text(TOKEN, encoding="ascii")
    token.chmod(0o600)
    words = ["--host", "0.0.0.0", "--port", "0", "--token-file", token, "--certificate", certificate, "--key", key]
    command = [sys.executable, "-c", "from fedward.cli import main; main()", "dashboard", tmp_path, *words]
    with subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, text=True) as service:
        try:
            assert service.stdout is not None
            _signs_in(service.stdout.readline().removeprefix("dashboard ").strip().replace("0.0.0.0", "localhost"))
        finally:
            service.send_signal(signal.SIGINT)


def _signs_in(url: str) -> None:
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(ignore_https_errors=True)
        page = context.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.goto(url)
        assert page.url == f"{url}/login"
        expect(page.get_by_label("Token of this dashboard")).to_be_visible()
        page.keyboard.press("Tab")
        page.keyboard.type("not the token")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_have_text("wrong token")
        said.clear()  # a refused request is on the console
        page.get_by_label("Token of this dashboard").fill(TOKEN)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("link", name="north").first).to_be_visible()
        assert page.url.startswith(f"{url}/") and "login" not in page.url
        assert page.evaluate("document.cookie") == "", "no script reads the session"
        assert said == []
        browser.close()
