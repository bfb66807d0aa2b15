"""``fedward federation``, as the operator types it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.support.command_line import typed

Run = Callable[..., tuple[int, str, str]]
CONTENT = {
    "name": "trial",
    "server": {"host": "localhost", "port": 8102, "organisation": "operator"},
    "hospitals": [{"site": "north", "organisation": "north"}],
    "people": [{"email": "lead@trial.org", "organisation": "operator", "role": "lead"}],
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "federation.yml").write_text(yaml.safe_dump(CONTENT))

    def act(*words: str | Path) -> tuple[int, str, str]:
        code = typed(monkeypatch, *map(str, words))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return act


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def also(*sites: str, **changes: object) -> None:
    hospitals = [{"site": site, "organisation": site} for site in ("north", *sites)]
    Path("federation.yml").write_text(yaml.safe_dump(CONTENT | {"hospitals": hospitals} | changes))


def refused(answer: tuple[int, str, str], said: str) -> None:
    code, _, err = answer
    lines = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert code == 1
    assert len(lines) == 1 and lines[0].startswith("fedward: ")
    assert said in lines[0]


PROVISION = ("federation", "provision", "federation.yml", "--out", "out")


def test_a_dry_run_prints_the_plan_and_writes_nothing(run: Run, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    code, out, _ = run(*PROVISION, "--dry-run")
    assert code == 0
    assert out.splitlines() == [
        "+ localhost (new kit, central)",
        "+ north (new kit, central)",
        "+ lead@trial.org (new kit, central)",
    ]
    code, out, _ = run(*PROVISION, "--dry-run", "--format", "json")
    assert [step["action"] for step in json.loads(out)["steps"]] == ["new"] * 3
    assert sorted(tmp_path.rglob("*")) == before


def test_provision_then_again_then_one_more(run: Run, tmp_path: Path) -> None:
    assert run(*PROVISION)[0] == 0
    before = tree(tmp_path / "out")
    code, out, err = run(*PROVISION)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "= localhost (kept, certificate 359 days)",
        "= north (kept, certificate 359 days)",
        "= lead@trial.org (kept, certificate 359 days)",
    ]
    assert tree(tmp_path / "out") == before
    also("south")
    code, out, _ = run(*PROVISION)
    assert code == 0
    assert out.splitlines()[-1] == "kit  out/trial/prod_00/south"
    assert "+ south (new kit, central)" in out
    also("south", server={"host": "localhost", "port": 9000, "organisation": "operator"})
    after = tree(tmp_path / "out")
    refused(run(*PROVISION), "server changed from localhost:8102 to localhost:9000")
    also("west", hospitals=[{"site": "north", "organisation": "other"}, {"site": "west", "organisation": "west"}])
    refused(run(*PROVISION), "north: organisation changed; not done: revoke and provision anew; nothing was written")
    refused(run(*PROVISION, "--only", "nowhere"), "nowhere")
    assert tree(tmp_path / "out") == after


def test_the_templates_go_into_the_kit(run: Run, root: Path) -> None:
    shutil.copyfile(root / "provisioning" / "federation.yml", "federation.yml")
    code, _, err = run(*PROVISION, "--only", "north-clinic", "--templates", root / "site_templates")
    assert (code, err) == (0, "")
    assert (Path("out") / "fedward" / "prod_00" / "north-clinic" / "local" / "site.toml").is_file()


def test_renew_revoke_and_status(run: Run, tmp_path: Path) -> None:
    run(*PROVISION)
    code, out, _ = run("federation", "status", "--out", "out")
    assert code == 0
    assert [line.split()[:3] for line in out.splitlines()[1:]] == [
        ["localhost", "central", "valid"],
        ["north", "central", "valid"],
        ["lead@trial.org", "central", "valid"],
    ]
    code, out, _ = run("federation", "renew", "north", "--out", "out", "--days", "20")
    assert code == 0 and "startup/client.crt" in out and "--revoke-old" in out
    code, out, _ = run("federation", "status", "--out", "out", "--format", "json")
    assert code == 1  # north's ends within 30 days
    assert {row["name"]: (row["state"], row["days_left"]) for row in json.loads(out)}["north"] == ("soon", 19)
    code, out, _ = run("federation", "renew", "north", "--out", "out", "--revoke-old")
    assert code == 0 and "revocation list number 2" in out and "key rotate" not in out
    code, out, _ = run("federation", "revoke", "north", "--out", "out", "--reason", "key-compromise")
    assert code == 0
    assert "out/trial/prod_00/localhost/local/revoked.crl" in out and "without a restart" in out
    assert "fedward key rotate" in out
    refused(run("federation", "renew", "north", "--out", "out"), "is revoked")
    assert run("federation", "status", "--out", "out")[0] == 0
    code, out, _ = run(*PROVISION)
    assert "- north (revoked; `--anew north` or `federation invite north` admits it again)" in out
    assert "+" not in out
    shutil.rmtree(tmp_path / "out" / "trial" / "prod_00" / "localhost")
    code, out, _ = run("federation", "revoke", "lead@trial.org", "--out", "out")
    assert "NOT in effect yet" in out


def test_no_federation_here(run: Run) -> None:
    for words in (["status"], ["renew", "north"], ["revoke", "north"]):
        refused(run("federation", *words, "--out", "out"), "no federation is here")
    refused(run("federation", "status", "--out", "out", "--federation", "other"), "no federation was provisioned here")
    refused(run("federation", "provision", "absent.yml"), "absent.yml")
