"""``fedward site ledger``, as hospital IT and the privacy officer type it."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from fedward.errors import GateError
from fedward.indexing.site_key import load_key
from fedward.privacy import accountant
from fedward.privacy.ledger.ledger import Ledger
from fedward.privacy.ledger.run_record import Record
from tests.conftest import OPEN_SITE_TOML
from tests.support.command_line import typed
from tests.support.ledger import count_steps, event, job, people
from tests.unit.conftest import MakeCohort


@pytest.fixture
def site_toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hospital with a capped cohort, without an index; ε is the number of steps."""
    monkeypatch.setattr(accountant, "epsilon", count_steps)
    path = tmp_path / "site.toml"
    path.write_text(
        f"""
        site = "north"
        key = "site.key"
        {OPEN_SITE_TOML}
        [cohorts.chest]
        images = "chest"
        index = "index/chest"
        max_quarantined_fraction = 0.5
        validation_fraction = 0.3
        privacy = {{ dp = "required", epsilon_cap = 20.0, delta = 1e-5, encryption = "not-required" }}
        """
    )
    return path


@pytest.fixture
def run(site_toml: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def act(*arguments: str) -> tuple[int, str, str]:
        code = typed(monkeypatch, "site", "ledger", str(site_toml), *arguments)
        return code, *capsys.readouterr()

    return act


def opened(site_toml: Path) -> Ledger:
    key = load_key(site_toml.parent / "site.key").secret
    return Ledger.open(site_toml.parent / "ledger.db", site="north", key=key)


def test_none_is_made_unless_asked_for_and_then_once(run: Any, site_toml: Path) -> None:
    code, out, err = run()
    assert (code, out) == (1, "")
    assert "no privacy ledger here" in err and "--create" in err and len(err.splitlines()) == 1
    assert [path.name for path in site_toml.parent.iterdir()] == ["site.toml"]
    code, out, err = run("--create")
    assert (code, err) == (0, "")
    assert "1 entries" in out
    code, out, err = run("--create")
    assert code == 1 and "already" in err


@pytest.fixture
def spent(run: Any, site_toml: Path) -> Path:
    """One job closed after two of ten steps, one open."""
    run("--create")
    ledger = opened(site_toml)
    ledger.charge(**job("j1"))
    ledger.begin("j1", round_number=0, steps=2)
    ledger.close("j1")
    ledger.charge(**job("j2", event=event(9), patients=people(3, 4)))
    ledger.begin("j2", round_number=0, steps=3)
    return site_toml


def test_what_is_spent_and_left_by_cohort_and_job(run: Any, spent: Path) -> None:
    code, out, err = run("--format", "json")
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert said["cohorts"] == [
        {
            "cohort": "chest",
            "cap": 20.0,
            "delta": 1e-5,
            "spent": 11.0,
            "patients": 5,
            "at_spent": 1,
            "left": 9.0,
            "indexed": False,
        }
    ]
    names = ("job_id", "state", "rounds", "planned_steps", "begun_steps", "refunded_steps", "epsilon", "cohort_epsilon")
    assert [[line[name] for name in names] for line in said["jobs"]] == [
        ["j1", "closed", 5, 10, 2, 8, 2.0, 2.0],
        ["j2", "open", 5, 9, 3, 0, 9.0, 11.0],
    ]
    code, out, err = run()
    assert code == 0 and err == ""
    for words in ("11.00", "20.00", "9.00", "1 patients", "closed", "--settle"):
        assert words in out
    for patient in people(0, 1, 2, 3, 4):
        assert patient not in out


def test_settling_gives_back_what_never_began(run: Any, spent: Path) -> None:
    code, out, err = run("--settle", "j2")
    assert (code, err) == (0, "")
    assert "6 steps that never began are given back, 3 stay spent; ε of its patients is now 5.00" in out
    assert len(out.splitlines()) == 1
    assert opened(spent).spent(people(3), delta=1e-5) == 5
    code, out, err = run("--settle", "j2", "--format", "json")
    assert json.loads(out) == {
        "job_id": "j2", "begun_steps": 3, "refunded_steps": 6, "epsilon": 5.0, "delta": 1e-5, "state": "closed",
    }  # fmt: skip
    code, out, err = run("--settle", "j9")
    assert code == 1 and "no such job" in err and len(err.splitlines()) == 1


def test_a_job_that_a_person_settles_is_over_here(run: Any, spent: Path) -> None:
    kept = Record.open(opened(spent).path, site="north", key=load_key(spent.parent / "site.key").secret)
    kept.begin("j2", job="a" * 64)
    assert run("--settle", "j2")[0] == 0
    with pytest.raises(GateError, match="has ended here"):
        kept.begin("j2", job="a" * 64)


def test_a_charge_that_the_service_closed_is_reopened_by_the_job_and_listed(run: Any, spent: Path) -> None:
    opened(spent).close("j2")
    assert not opened(spent).charge(**job("j2", event=event(9), patients=people(3, 4))).closed
    lines = {line["job_id"]: line for line in json.loads(run("--format", "json")[1])["jobs"]}
    assert (lines["j2"]["state"], lines["j2"]["reopened"], lines["j2"]["epsilon"]) == ("open", 1, 9.0)
    assert "reopened 1" in run()[1]


def test_settling_a_job_without_protection_changes_nothing(run: Any, spent: Path) -> None:
    opened(spent).unprotected(job_id="clear", job="plain", cohort="chest", patients=people(0))
    count = len(opened(spent).entries())
    code, out, _ = run("--settle", "clear")
    assert code == 0 and "now ∞" in out and len(opened(spent).entries()) == count


def test_a_job_without_protection_is_infinite_and_json_stays_json(run: Any, spent: Path) -> None:
    opened(spent).unprotected(job_id="j3", job="plain", cohort="chest", patients=people(0))
    code, out, _ = run("--format", "json")
    said = json.loads(out, parse_constant=lambda name: pytest.fail(name))
    assert (code, said["cohorts"][0]["spent"], said["cohorts"][0]["left"]) == (0, "inf", 0.0)
    assert (said["jobs"][2]["state"], said["jobs"][2]["epsilon"]) == ("unprotected", "inf")
    code, out, _ = run()
    assert code == 0 and "∞" in out


def test_an_index_names_the_patients_whose_budget_it_is(
    run: Any, spent: Path, make_cohort: MakeCohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fedward.dataset.manifest import write_manifest

    manifest = make_cohort(16)
    write_manifest(manifest, spent.parent / "index" / "chest")
    _code, out, _ = run("--format", "json")
    (line,) = json.loads(out)["cohorts"]
    assert (line["indexed"], line["patients"], line["spent"]) == (True, manifest.patients("train"), 0.0)
    trained = next(row.patient for row in manifest.rows if row.split == "train")
    opened(spent).charge(**job("j4", patients=[trained]))
    assert json.loads(run("--format", "json")[1])["cohorts"][0]["spent"] == 10.0


def test_verify_walks_the_chain_and_finds_a_changed_byte(run: Any, spent: Path) -> None:
    code, out, err = run("--verify", "--format", "json")
    entries = opened(spent).entries()
    ledger = str(spent.parent / "ledger.db")
    assert (code, json.loads(out)) == (0, {"ledger": ledger, "entries": 6, "head": entries[-1].hash})
    code, out, err = run("--verify")
    assert code == 0 and entries[-1].hash in out and "6 entries" in out
    connection = sqlite3.connect(ledger)
    connection.executescript(
        "DROP TRIGGER entries_keep; UPDATE entries SET body = replace(body, 'j2', 'j3') WHERE number = 5"
    )
    connection.close()
    code, out, err = run("--verify")
    assert (code, out) == (1, "")
    assert "entry 5 was changed" in err and len(err.splitlines()) == 1


def test_a_lost_key_is_not_made_anew_beside_a_ledger(run: Any, spent: Path) -> None:
    (spent.parent / "site.key").unlink()
    for arguments in ([], ["--create"], ["--verify"]):
        code, _, err = run(*arguments)
        assert code == 1 and "key that the ledger was made with is gone" in err
    assert not (spent.parent / "site.key").exists()


def test_the_plot_is_a_drawing_on_its_own(run: Any, spent: Path, tmp_path: Path) -> None:
    drawing = tmp_path / "spent.svg"
    assert run("--plot", str(drawing))[:2] == (0, f"{drawing}\n")
    ElementTree.parse(drawing)
    text = drawing.read_text()
    assert "chest 11.00" in text and 'class="cap"' in text
    opened(spent).unprotected(job_id="j3", job="plain", cohort="chest", patients=people(0))
    assert run("--plot", str(drawing))[0] == 0
    ElementTree.parse(drawing)
    assert "chest ∞" in drawing.read_text() and "inf" not in drawing.read_text()


def test_nothing_spent_is_nothing_drawn(run: Any, tmp_path: Path) -> None:
    run("--create")
    code, _, err = run("--plot", str(tmp_path / "spent.svg"))
    assert code == 1 and "nothing was spent yet" in err
    assert not (tmp_path / "spent.svg").exists()
