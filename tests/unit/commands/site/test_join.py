"""``fedward site join`` and what the operator types for it: an invitation, a request, a signed zip, a kit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from fedward.encryption.keys.site_identity import read_identity
from tests.support.command_line import typed

Run = Callable[..., tuple[int, str, str]]
CONTENT = {
    "name": "trial",
    "server": {"host": "localhost", "port": 8102, "organisation": "operator"},
    "hospitals": [{"site": "north", "organisation": "north"}],
    "people": [{"email": "lead@trial.org", "organisation": "operator", "role": "lead"}],
}
FILE = ("--file", "federation.yml", "--out", "out")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    Path("federation.yml").write_text(yaml.safe_dump(CONTENT))

    def act(*words: str) -> tuple[int, str, str]:
        code = typed(monkeypatch, *words)
        printed = capsys.readouterr()
        assert "PRIVATE KEY" not in printed.out + printed.err
        return code, printed.out, printed.err

    return act


def said(out: str, what: str) -> str:
    """Return the rest of the line that begins with ``what``."""
    return next(line.split(what, 1)[1].strip() for line in out.splitlines() if line.strip().startswith(what))


def refused(answer: tuple[int, str, str], words: str) -> None:
    code, out, err = answer
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1 and err.startswith("fedward: ")
    assert words in err


def test_the_whole_way_by_hand(run: Run) -> None:
    """Two people, a telephone, three files that anyone may carry."""
    code, out, err = run("federation", "invite", "north", *FILE)
    assert code == 0 and err.startswith("note: no templates")
    authority = said(out, "authority's fingerprint")
    shutil.copyfile(said(out, "invitation"), "north.invitation.json")
    code, out, _ = run("site", "join", "north.invitation.json", "--request", "request")
    assert code == 0
    assert said(out, "invitation is by the authority") == authority
    key = said(out, "key's fingerprint")
    shutil.copyfile(said(out, "request"), "sent.request.zip")
    refused(run("federation", "approve", "sent.request.zip", *FILE, "--expect", authority), "another key than the one")
    code, out, _ = run("federation", "approve", "sent.request.zip", *FILE, "--expect", key, "--days", "90")
    assert code == 0 and said(out, "authority's fingerprint") == authority
    shutil.copyfile(said(out, "signed"), "north.signed.zip")
    join = ("site", "join", "north.signed.zip", "--request", "request")
    refused(run(*join), "a signed zip needs")
    refused(run(*join, "--kit", "kit", "--authority", key), "another authority than the one read to you")
    assert not Path("kit").exists()
    code, out, _ = run(*join, "--kit", "kit", "--authority", authority)
    assert code == 0 and out.startswith("kit: kit of north, certificate until ")
    assert read_identity(Path("kit")).name == "north"
    code, out, _ = run(*join, "--kit", "kit", "--authority", authority, "--format", "json")
    assert json.loads(out)["done"] == "kept"


def test_what_is_no_such_file_is_one_line(run: Run) -> None:
    refused(run("site", "join", "north.zip", "--request", "request"), "is neither an invitation nor a signed zip")
    refused(run("site", "join", "a.invitation.json", "--request", "request"), "no such file")
    words = ("--request", "request", "--kit", "kit", "--authority", "0" * 32)
    refused(run("site", "join", "a.signed.zip", *words), "no such file")
    Path("a.signed.zip").touch()
    refused(run("site", "join", "a.signed.zip", *words), "no request was made here")
    refused(run("federation", "approve", "a.request.zip", *FILE, "--expect", "0" * 32), "no federation was provisioned")
    refused(run("federation", "invite", "nowhere", *FILE), "is not in the federation's file")
    assert not Path("out").exists() and not Path("request").exists()
