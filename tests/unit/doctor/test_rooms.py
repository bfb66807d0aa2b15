"""Certificates, policy, keys, images and machine: what each looks at, at its limits and beyond them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from fedward.demo.federate import federation_of
from fedward.doctor.context import GIB, Case, Limits
from fedward.doctor.findings import Finding
from fedward.doctor.site import certificates, images, keys, kit, machine, policy
from fedward.encryption.keys.key import create_key
from fedward.encryption.keys.key_file import write_key
from fedward.encryption.masks.known_sites import write_roster
from fedward.flare.kits.central import provision
from fedward.flare.local_federation import free_port
from fedward.privacy.ledger.ledger import Ledger
from fedward.privacy.ledger.run_record import Record
from fedward.provisioning.templates import render
from fedward.settings import Pacs, read_federation
from tests.support.doctor_case import POLICY, SITE, case_of, levels, write_kit

DAY_S = timedelta(days=1).total_seconds()


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return write_kit(tmp_path / "kit")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kit with certificates."""
    made = provision(federation_of([SITE], port=8102), tmp_path_factory.mktemp("real")).sites[SITE]
    (made / "local" / "site.toml").write_text(POLICY, encoding="utf-8")
    return made


def say(kit: Path, before: str, after: str) -> Case:
    path = kit / "local" / "site.toml"
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")
    return case_of(kit)


def only(found: object) -> Finding:
    (finding,) = found  # type: ignore[misc]
    assert isinstance(finding, Finding)
    return finding


# certificates ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days_before_the_end", "level"), [(31.0, "pass"), (29.9, "warn"), (0.1, "warn"), (-0.1, "fail"), (-400.0, "fail")]
)
def test_days_of_a_certificate(real: Path, days_before_the_end: float, level: str) -> None:
    ends = case_of(real).certificate.not_valid_after_utc.timestamp()
    found = certificates.certificate_days(case_of(real, now=lambda: ends - days_before_the_end * DAY_S))
    assert [finding.level for finding in found] == [level, "pass"]


def test_a_certificate_that_is_yet_to_begin(real: Path) -> None:
    begins = case_of(real).certificate.not_valid_before_utc.timestamp()
    found = list(certificates.certificate_days(case_of(real, now=lambda: begins - 600)))
    assert found[0].level == "fail" and "clock" in str(found[0].remedy)
    assert "clock of this machine 20" in str(found[0].value)


def test_an_authority_that_ends_is_found_too(real: Path) -> None:
    ends = case_of(real).root.not_valid_after_utc.timestamp()
    assert levels(certificates.certificate_days(case_of(real, now=lambda: ends + 1))) == {"fail"}


def test_key_name_and_files(real: Path, tmp_path: Path) -> None:
    kit_ = Path(shutil.copytree(real, tmp_path / "kit"))
    case = case_of(kit_)
    for look in (certificates.certificate_files, certificates.certificate_key, certificates.certificate_root):
        assert levels(look(case)) == {"pass"}
    assert levels(certificates.certificate_name(case)) == {"pass"}
    assert levels(certificates.certificate_name(say(kit_, f'"{SITE}"', '"elsewhere"'))) == {"fail"}
    other = provision(federation_of([SITE], port=8102), tmp_path / "other").sites[SITE]
    shutil.copy2(other / "startup" / "client.key", kit_ / "startup" / "client.key")
    assert levels(certificates.certificate_key(case)) == {"fail"}
    shutil.copy2(kit_ / "startup" / "client.crt", kit_ / "startup" / "rootCA.pem")
    assert levels(certificates.certificate_root(case_of(kit_))) == {"fail"}
    (kit_ / "startup" / "client.key").write_text("-----BEGIN")
    assert levels(certificates.certificate_key(case)) == {"fail"}
    (kit_ / "startup" / "client.crt").unlink()
    assert [one.level for one in certificates.certificate_files(case_of(kit_))] == ["fail", "pass"]


# policy ----------------------------------------------------------------------------------------------------------


def test_the_policy_that_is_shipped_is_not_lax(root: Path, site: Path) -> None:
    spec = read_federation(root / "provisioning" / "federation.yml")
    for hospital in spec.hospitals:
        text = render(root / "site_templates", spec=spec, hospital=hospital)["site.toml"]
        (site / "local" / "site.toml").write_text(text, encoding="utf-8")
        assert levels(policy.lax_policy(case_of(site))) == {"pass"}
        assert "fail" not in levels(policy.policy(case_of(site)))


PRIVACY = 'dp = "required", epsilon_cap = 8.0, delta = 1e-3, encryption = "required"'


@pytest.mark.parametrize(
    ("before", "after", "level", "where"),
    [
        ("approved_jobs = []", 'approved_jobs = "any"', "warn", "approved_jobs"),
        ("min_count = 5", "min_count = 4", "warn", "disclosure.min_count"),
        ("min_count = 5", "min_count = 1", "fail", "disclosure.min_count"),
        ('encryption = "required"', 'encryption = "not-required"', "warn", "cohorts.chest.privacy.encryption"),
        ('dp = "required"', 'dp = "not-required"', "warn", "cohorts.chest.privacy.dp"),
        (PRIVACY, 'dp = "not-required", encryption = "required"', "warn", "cohorts.chest.privacy.epsilon_cap"),
        (PRIVACY, 'dp = "not-required", encryption = "not-required"', "fail", "cohorts.chest.privacy"),
    ],
)
def test_each_protection_left_out_is_named(site: Path, before: str, after: str, level: str, where: str) -> None:
    found = [one for one in policy.lax_policy(say(site, before, after)) if one.where == where]
    assert [one.level for one in found] == [level] and found[0].remedy


def test_a_fault_of_the_policy_is_told_once(site: Path) -> None:
    case = say(site, 'metrics = ["scores"]', 'metrics = ["invented"]')
    assert levels(policy.policy(case)) == {"fail"} and levels(policy.lax_policy(case)) == {"pass"}
    case = say(site, "approved_jobs = []", 'approved_jobs = "any"')
    assert "approved_jobs" not in {finding.where for finding in policy.policy(case)}


@pytest.mark.parametrize(
    ("text", "level"), [("not TOML", "fail"), (POLICY.replace("key =", "kye ="), "fail"), (POLICY, "pass")]
)
def test_a_policy_that_cannot_be_read(site: Path, text: str, level: str) -> None:
    (site / "local" / "site.toml").write_text(text, encoding="utf-8")
    assert levels(kit.site_toml(case_of(site))) == {level}


def test_a_policy_elsewhere_is_not_the_one_that_jobs_meet(site: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(POLICY + "# changed\n", encoding="utf-8")
    assert levels(kit.site_toml(Case(kit=site, site_toml=other))) == {"warn"}
    (site / "local" / "site.toml").unlink()
    assert levels(kit.site_toml(Case(kit=site, site_toml=other))) == {"fail"}


def test_a_ledger_that_is_gone_cut_or_damaged(site: Path) -> None:
    case = case_of(site)
    write_site_key(site)
    assert only(policy.ledger(case)).level == "fail"
    Ledger.create(case.policy.ledger, site=SITE, key=bytes.fromhex("ab" * 32))
    assert only(policy.ledger(case)).level == "pass"
    case.policy.ledger.write_bytes(b"nothing of the kind")
    assert only(policy.ledger(case)).level == "fail"


def test_a_record_of_runs_that_cannot_be_understood(site: Path) -> None:
    case = case_of(site)
    write_site_key(site)
    key = bytes.fromhex("ab" * 32)
    book = Record.create(case.policy.ledger, site=SITE, key=key)
    book.begin("j1", job="a" * 64)
    book.begin("j2", job="a" * 64)
    book.end("j2")
    found = only(policy.record(case))
    assert found.level == "pass" and "2 runs, 1 of them running" in str(found.value)
    with book._turn() as turn:
        turn.append("run-final", {"job_id": "j9", "round": 1, "model": "a" * 64})  # of a run that never began
    assert only(policy.record(case)).level == "fail"
    assert only(policy.ledger(case)).level == "pass", "its chain is whole"


# keys ------------------------------------------------------------------------------------------------------------


def write_site_key(site: Path) -> Path:
    path = site / "local" / "site.key"
    path.touch(mode=0o600)
    path.write_text("ab" * 32 + "\n")
    return path


def test_the_site_key_is_looked_at_and_never_made(site: Path) -> None:
    path = site / "local" / "site.key"
    assert only(keys.site_key(case_of(site))).level == "fail" and not path.exists()
    write_site_key(site)
    assert only(keys.site_key(case_of(site))).level == "pass"
    path.write_text("short")
    assert only(keys.site_key(case_of(site))).level == "fail"


def test_the_federations_key_against_its_id(site: Path) -> None:
    path = site / "local" / "federation.key"
    assert only(keys.federation_key(case_of(site))).level == "fail"
    key = create_key()
    write_key(key, path)
    unsure = only(keys.federation_key(case_of(site)))
    assert unsure.level == "warn" and "another hospital" in str(unsure.remedy)
    line = 'federation_key = "federation.key"'
    case = say(site, line, f'{line}\nfederation_key_id = "{key.key_id}"')
    assert only(keys.federation_key(case)).level == "pass"
    other = only(keys.federation_key(say(site, key.key_id, "0" * 32)))
    assert other.level == "fail" and key.secret.hex() not in repr(other)
    path.write_bytes(path.read_bytes()[:-2])
    assert only(keys.federation_key(case)).level == "fail"


def test_a_hospital_without_the_federations_key_is_well(site: Path) -> None:
    """Masked jobs make their own keys."""
    case = say(site, 'federation_key = "federation.key"\n', "")
    assert only(keys.federation_key(case)).level == "skip"


def test_the_roster_has_as_many_as_a_masked_job_needs(site: Path) -> None:
    assert only(keys.roster(case_of(site))).level == "skip"
    file, path = site / "local" / "site.toml", site / "local" / "roster.json"
    file.write_text(f'roster = "{path}"\nmin_known = 2\n' + file.read_text(encoding="utf-8"), encoding="utf-8")
    empty = only(keys.roster(case_of(site)))
    assert empty.level == "fail" and empty.remedy is not None and "fedward site roster" in empty.remedy
    for known, level in ((1, "warn"), (2, "pass")):
        write_roster(path, {f"site-{number}": f"{number:032x}" for number in range(known)})
        found = only(keys.roster(case_of(site)))
        assert (found.level, found.value) == (level, f"{known}, min_known 2")
    path.write_text("{}", encoding="utf-8")
    assert only(keys.roster(case_of(site))).level == "fail"


@pytest.mark.parametrize(("mode", "level"), [(0o600, "pass"), (0o400, "pass"), (0o640, "fail"), (0o604, "fail")])
def test_private_files_are_their_owners_alone(site: Path, mode: int, level: str) -> None:
    write_site_key(site).chmod(mode)
    assert levels(keys.private_files(case_of(site))) == {level}


@pytest.mark.parametrize("name", ["local/site.toml", "local", "startup/sub_start.sh", "local/privacy.json", "."])
@pytest.mark.parametrize(("bit", "level"), [(0o002, "fail"), (0o020, "warn")])
def test_what_decides_is_not_anybodys_to_change(site: Path, name: str, bit: int, level: str) -> None:
    for path in (site, *site.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o022)
    assert levels(keys.file_permissions(case_of(site))) == {"pass"}
    path = site / name
    path.chmod(path.stat().st_mode | bit)
    found = only(keys.file_permissions(case_of(site)))
    assert found.level == level and "chmod" in str(found.remedy)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file away")
def test_a_key_of_another_user_is_told(site: Path) -> None:
    os.chown(write_site_key(site), 65_534, 65_534)
    assert levels(keys.private_files(case_of(site))) == {"warn"}


# images ----------------------------------------------------------------------------------------------------------


def _absent(folder: Path) -> None:
    return


def _a_file(folder: Path) -> None:
    folder.touch()


def _empty(folder: Path) -> None:
    folder.mkdir()


def _one_image(folder: Path) -> None:
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "1.dcm").touch()


def _link_to_nowhere(folder: Path) -> None:
    folder.mkdir()
    (folder / "Doe^Jane").symlink_to(folder / "gone")


@pytest.mark.parametrize(
    ("make", "level"),
    [(_absent, "fail"), (_a_file, "fail"), (_empty, "fail"), (_link_to_nowhere, "fail"), (_one_image, "pass")],
)
def test_a_folder_of_images(site: Path, make: Callable[[Path], None], level: str) -> None:
    case = case_of(site)
    make(case.policy.cohorts["chest"].images)
    found = only(images.folders(case))
    assert found.level == level and "Doe" not in repr(found)


def test_a_cohort_that_was_never_indexed(site: Path) -> None:
    found = only(images.index(case_of(site)))
    assert found.level == "fail" and "site index" in str(found.remedy)


def test_a_pacs_that_is_not_there_is_found_and_one_that_is_not_named_is_not(site: Path) -> None:
    assert only(images.pacs(case_of(site))).level == "skip"
    archive = f'protocol = "c-get", host = "127.0.0.1", port = {free_port()}, ae_title = "A"'
    archive += ', query = { StudyDate = "2020" }'
    case = say(site, "[cohorts.chest]\n", f"[cohorts.chest]\npacs = {{ {archive} }}\n")
    assert isinstance(case.policy.cohorts["chest"].pacs, Pacs)
    found = only(images.pacs(case))
    assert found.level == "fail" and found.remedy


# machine ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fail", "warn", "level"), [(0, 0, "pass"), (0, 2**70, "warn"), (2**70, 2**70, "fail")])
def test_room_by_its_limits(site: Path, fail: float, warn: float, level: str) -> None:
    limits = Limits(kit_fail_bytes=fail, kit_warn_bytes=warn, memory_fail_bytes=fail, memory_warn_bytes=warn)
    case = case_of(site, limits=limits)
    assert [one.level for one in machine.disk(case)] == [level, "pass"]
    assert only(machine.memory(case)).level == level


def test_an_index_needs_as_much_again_as_it_takes(site: Path) -> None:
    case = case_of(site, limits=Limits(index_fail_bytes=0))
    folder = case.policy.cohorts["chest"].index
    folder.mkdir()
    with (folder / "manifest.jsonl").open("wb") as file:
        file.truncate(size := shutil.disk_usage(folder).free + GIB)  # a hole, which takes no room
    found = list(machine.disk(case))[1]
    assert found.level == "fail" and f"{size / GIB:.1f} GiB" in found.what
