"""``fedward audit`` as it is typed, and the commands whose acts it shows."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fedward import cli
from fedward.audit.log import AuditLog
from fedward.audit.verify import entries, verify
from tests.support.audit_log import of_rounds, written

Run = Callable[..., tuple[int, str, str]]
SITE = """site = "north"
key = "site.key"
ledger = "ledger.db"
approvals = "approvals"
approved_jobs = []
disclosure = { metrics = [], decimals = 3, min_count = 5 }
cohorts = {}
"""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def act(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fedward", *words])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        said = capsys.readouterr()
        return int(stopped.value.code or 0), said.out, said.err

    return act


def test_verify_prints_the_head_to_keep_elsewhere_and_takes_it_again(run: Run, tmp_path: Path) -> None:
    log = of_rounds(tmp_path / "audit", 4)
    code, out, err = run("audit", "verify", str(tmp_path))
    assert (code, err) == (0, "")
    head = out.split("head ")[1].strip()
    assert "entries 1 to 4" in out and "sealed with the key beside it" in out and len(out.splitlines()) == 1
    log.append("signed-in", who="north", about={})
    assert run("audit", "verify", str(log.path), "--head", head)[0] == 0
    answer = json.loads(run("audit", "verify", str(tmp_path / "audit"), "--format", "json")[1])
    assert (answer["first"], answer["last"], answer["torn_bytes"]) == (1, 5, 0)
    number, _, digest = head.partition(":")
    for other in (f"3:{digest}", f"{number}:{'0' * 64}", f"9:{digest}", "x"):
        code, out, err = run("audit", "verify", str(tmp_path), "--head", other)
        assert (code, out, len(err.splitlines())) == (1, "", 1)


def test_a_fault_is_one_line_with_the_number_and_the_remedy(run: Run, tmp_path: Path) -> None:
    log = of_rounds(tmp_path / "audit", 4)
    log.path.write_bytes(log.path.read_bytes().replace(b'"round":2', b'"round":9'))
    code, out, err = run("audit", "verify", str(tmp_path))
    assert (code, out) == (1, "")
    assert "entry 3 was changed" in err and "tell the privacy officer" in err and len(err.splitlines()) == 1
    code, out, err = run("audit", "show", str(tmp_path))
    assert code == 1 and out.count("round-complete") == 4 and "entry 3 was changed" in err


def test_no_log_is_one_line(run: Run, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent", tmp_path / "absent.toml"):
        code, out, err = run("audit", "verify", str(path))
        assert (code, out, len(err.splitlines())) == (1, "", 1)


def test_show_filters_and_escapes(run: Run, tmp_path: Path) -> None:
    acts = [
        ("job-started", "own account a", {"job": "j1", "sites": ["north", "south"]}),
        ("site-declined", "own account a", {"job": "j1", "reason": "[red]\x1b[2J:smile:"}),
        ("job-started", "own account a", {"job": "j2"}),
    ]
    written(tmp_path / "audit", acts)
    lines = run("audit", "show", str(tmp_path), "--job", "j1", "--format", "json")[1].splitlines()
    assert [json.loads(line)["n"] for line in lines] == [1, 2]
    assert "[red]" in run("audit", "show", str(tmp_path))[1]
    chosen = run("audit", "show", str(tmp_path), "--what", "job-started", "--format", "json")[1].splitlines()
    assert [json.loads(line)["n"] for line in chosen] == [1, 3]
    for since, count in (("2026-03-02", 0), ("2026-03-01", 3), ("2026-03-01T00:00:00+02:00", 3)):
        assert len(run("audit", "show", str(tmp_path), "--since", since, "--format", "json")[1].splitlines()) == count
    for words in (("--what", "sang"), ("--since", "yesterday")):
        code, out, err = run("audit", "show", str(tmp_path), *words)
        assert (code, out, len(err.splitlines())) == (1, "", 1)


@pytest.fixture
def site_toml(tmp_path: Path) -> Path:
    kit = tmp_path / "kit"
    (kit / "startup").mkdir(parents=True)
    (kit / "local").mkdir()
    (kit / "local" / "site.toml").write_text(SITE)
    return kit / "local" / "site.toml"


def log_of(site_toml: Path) -> AuditLog:
    return AuditLog(site_toml.parent.parent / "audit", site_toml=site_toml)


def test_what_a_hospital_does_is_in_its_log(run: Run, site_toml: Path, root: Path) -> None:
    job = str(root / "jobs" / "cxr_classification")
    assert run("site", "ledger", str(site_toml), "--create")[0] == 0
    code, out, err = run("site", "approve", job, "--site-toml", str(site_toml), "--yes", "--format", "json")
    assert code == 0, err
    approved = json.loads(out)["hash"]
    assert run("site", "approve", "--revoke", approved, "--site-toml", str(site_toml))[0] == 0
    assert run("key", "create", str(site_toml.parent / "federation.key"))[0] == 0
    assert run("key", "rotate", str(site_toml.parent / "federation.key"))[0] == 0
    found = list(entries(log_of(site_toml)))
    acts = ["ledger-created", "approved", "approval-revoked", "key-created", "key-rotated"]
    assert [one.what for one in found] == acts
    assert all(one.who.startswith("own account ") for one in found)
    assert [one.about.get("hash") for one in found][1:3] == [approved, approved]
    assert (found[4].about["generation"], len(found[4].about["key"])) == (2, 32)
    assert verify(log_of(site_toml)).sealed_by == "site"


def test_an_approval_that_cannot_be_recorded_is_refused_and_other_acts_say_so(
    run: Run, site_toml: Path, root: Path
) -> None:
    assert run("site", "ledger", str(site_toml), "--create")[0] == 0
    log = log_of(site_toml)
    log.head.write_bytes(b"{}")
    job = str(root / "jobs" / "cxr_classification")
    code, _, err = run("site", "approve", job, "--site-toml", str(site_toml), "--yes", "--format", "json")
    assert code == 1 and "approved is refused: head of the audit log was changed" in err
    assert len(err.splitlines()) == 1
    assert not list((site_toml.parent / "approvals").glob("*.json"))
    code, _, err = run("key", "create", str(site_toml.parent / "federation.key"))
    assert code == 0 and err.startswith("note: key-created is not in the audit log: ")
    kit = site_toml.parents[1]
    shutil.rmtree(log.path.parent)
    code, _, err = run("site", "approve", job, "--site-toml", str(site_toml), "--yes", "--format", "json")
    assert code == 1 and "approved is refused: log was removed, and its anchor is still here" in err
    assert "fedward audit restart" in err and len(err.splitlines()) == 1
    code, _, err = run("audit", "verify", str(kit))
    assert code == 1 and "log was removed, and its anchor is still here" in err and len(err.splitlines()) == 1
    code, out, err = run("audit", "restart", str(kit), "--reason", "the disk was lost")
    assert (code, err) == (0, "") and "a new log; head 1:" in out
    assert run("site", "approve", job, "--site-toml", str(site_toml), "--yes", "--format", "json")[0] == 0
    first, second = entries(log_of(site_toml))
    assert (first.what, first.about["reason"], first.about["last"]) == ("log-restarted", "the disk was lost", 1)
    assert first.who.startswith("own account ") and second.what == "approved"
    assert verify(log_of(site_toml)).sealed_by == "site"
    code, _, err = run("audit", "restart", str(kit), "--reason", "again")
    assert code == 1 and "a log is here" in err and len(err.splitlines()) == 1
