"""A fleet of real kits, made old, and the operator's signed update of all of them."""

from __future__ import annotations

import json
import os
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fedward.errors import FederationError
from fedward.flare.kits import update as kit_updates
from fedward.flare.kits.central import Kits, provision
from fedward.flare.kits.hardening import require_hardened
from fedward.flare.kits.update import make_update, update_kit
from fedward.metrics.store import STORE_FILE, Store
from fedward.provisioning.authority import read_authority
from fedward.provisioning.folder import FederationFolder
from fedward.provisioning.participants import Kind
from fedward.provisioning.stamp import STAMP_FILE, read_stamp
from fedward.settings import FederationSpec, parse
from fedward.upkeep import replacement
from fedward.upkeep.kit_files import UPDATABLE, content_hash, hashes
from fedward.upkeep.update_file import Update, read_update, write_update
from tests.support.command_line import typed

SITES = ("alder", "birch", "cedar", "elm", "fir", "hazel", "larch", "oak")
NOW = 2_000_000_000
RIGHTS, RESOURCES, START = "local/authorization.json", "local/resources.json", "startup/sub_start.sh"
GPUS = "nvflare.app_common.resource_managers.gpu_resource_manager.GPUResourceManager"


def _fleet(out: Path, name: str) -> Kits:
    content: dict[str, Any] = {
        "name": name,
        "server": {"host": "localhost", "port": 8102, "organisation": "operator"},
        "hospitals": [{"site": site, "organisation": site} for site in SITES],
        "people": [{"email": "admin@trial.org", "organisation": "operator", "role": "project_admin"}],
    }
    return provision(parse(FederationSpec, content, where=name), out)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("fleet")
    _fleet(out, "trial")
    return out


@pytest.fixture
def out(made: Path, tmp_path: Path) -> Path:
    """A copy of the federation's folder, whose kits are of 0.0.9: other rights, another start, an older stamp."""
    shutil.copytree(made, tmp_path / "out", symlinks=True)
    for kit in _kits(tmp_path / "out").values():
        _age(kit)
    return tmp_path / "out"


def _kits(out: Path) -> dict[str, Path]:
    return {name: out / "trial" / "prod_00" / name for name in (*SITES, "localhost")}


def _age(kit: Path) -> None:
    rights = json.loads((kit / RIGHTS).read_text())
    rights["permissions"]["member"]["view"] = "none"
    (kit / RIGHTS).write_text(json.dumps(rights, indent=2) + "\n")
    (kit / START).write_text((kit / START).read_text().replace("export PYTHONSAFEPATH=1\n", ""))
    kind = Kind.server if kit.name == "localhost" else Kind.site
    old = {"fedward": "0.0.9", "wheel": "0" * 64, "files": hashes(kit, kind)}
    stamp = read_stamp(kit).model_copy(update=old)
    (kit / "local" / STAMP_FILE).write_text(stamp.model_dump_json())


@pytest.fixture
def file(out: Path, tmp_path: Path) -> Path:
    path = tmp_path / "update.zip"
    make_update(FederationFolder(out / "trial"), path, now=NOW)
    return path


def _tree(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mode)
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def _refused(kit: Path, file: Path, what: str) -> None:
    before = _tree(kit)
    with pytest.raises(FederationError, match=what) as refusal:
        update_kit(kit, file)
    assert len(str(refusal.value).splitlines()) == 1
    assert _tree(kit) == before


def test_eight_sites_and_the_server_come_to_one_version_without_an_edited_file(
    out: Path, made: Path, file: Path
) -> None:
    for name, kit in _kits(out).items():
        before, own = _tree(kit), _tree(made / "trial" / "prod_00" / name)
        with pytest.raises(FederationError):
            require_hardened(kit, Kind.server if name == "localhost" else Kind.site)
        done = update_kit(kit, file)
        assert [change.path for change in done.plan.changes] == [RIGHTS, START]
        assert done.kept is not None
        after = _tree(kit)
        kept = {path: content for path, content in after.items() if path.startswith("replaced/")}
        new = {path: content for path, content in after.items() if path not in kept}
        stamp = f"local/{STAMP_FILE}"
        assert new.keys() == own.keys()
        assert {path for path in own if new[path] != own[path]} == {stamp}, "all but the stamp as a new kit has it"
        assert {path: content[0] for path, content in _tree(done.kept).items()} == {
            path: before[path][0] for path in (RIGHTS, START, stamp)
        }
        now = read_stamp(kit)
        assert (now.wheel, now.updated) == (read_stamp(made / "trial" / "prod_00" / name).wheel, NOW)
        require_hardened(kit, Kind.server if name == "localhost" else Kind.site)
        assert update_kit(kit, file).plan.done, "a second time changes nothing"
        assert _tree(kit) == after


def test_a_dry_run_writes_nothing_and_shows_the_difference(out: Path, file: Path) -> None:
    kit = _kits(out)["oak"]
    before = _tree(kit)
    plan = update_kit(kit, file, dry_run=True).plan
    assert _tree(kit) == before
    assert "+export PYTHONSAFEPATH=1" in plan.changes[1].diff and START in plan.changes[1].diff


def test_an_edited_file_is_refused_by_its_name(out: Path, file: Path) -> None:
    for path in UPDATABLE[Kind.site]:
        kit = _kits(out)["oak"]
        old = (kit / path).read_bytes()
        (kit / path).write_bytes(old.replace(b"{", b'{"num": 1, ', 1) if path.endswith(".json") else old + b"\n#")
        _refused(kit, file, f"{path}: was edited")
        (kit / path).write_bytes(old)
    (kit / RIGHTS).unlink()
    _refused(kit, file, f"{RIGHTS}: file of the kit is gone")


def test_components_that_a_site_may_choose_stay(out: Path, file: Path) -> None:
    kit = _kits(out)["elm"]
    content = json.loads((kit / RESOURCES).read_text())
    gpus = {"id": "resource_manager", "path": GPUS, "args": {"num_of_gpus": 2, "mem_per_gpu_in_GiB": 16}}
    content["components"] = [gpus if one["id"] == "resource_manager" else one for one in content["components"]]
    content["components"] = [one for one in content["components"] if one["id"] != "resource_consumer"]
    (kit / RESOURCES).write_text(json.dumps(content))
    update_kit(kit, file)
    found = json.loads((kit / RESOURCES).read_text())["components"]
    assert gpus in found and not [one for one in found if one["id"] == "resource_consumer"]
    require_hardened(kit, Kind.site)
    assert update_kit(kit, file).plan.done


def test_components_in_another_order_are_left_as_they_are(out: Path, file: Path) -> None:
    """A template's own components are at the end."""
    kit = _kits(out)["elm"]
    content = json.loads((kit / RESOURCES).read_text())
    content["components"].append(content["components"].pop(1))
    (kit / RESOURCES).write_text(json.dumps(content))
    before = (kit / RESOURCES).read_bytes()
    assert RESOURCES not in [change.path for change in update_kit(kit, file).plan.changes]
    assert (kit / RESOURCES).read_bytes() == before


def test_a_component_that_no_template_may_choose_is_an_edit(out: Path, file: Path) -> None:
    kit = _kits(out)["elm"]
    content = json.loads((kit / RESOURCES).read_text())
    content["components"].append({"id": "own", "path": "somewhere.Else", "args": {}})
    (kit / RESOURCES).write_text(json.dumps(content))
    _refused(kit, file, f"{RESOURCES}: was edited")


def test_a_kit_whose_stamp_has_no_hashes_is_taken_if_the_operator_knows_its_files(out: Path, tmp_path: Path) -> None:
    kit = _kits(out)["fir"]
    stamp = json.loads((kit / "local" / STAMP_FILE).read_text())
    del stamp["files"], stamp["updated"]
    (kit / "local" / STAMP_FILE).write_text(json.dumps(stamp))
    make_update(FederationFolder(out / "trial"), tmp_path / "known.zip", now=NOW)
    (kit / START).write_text((kit / START).read_text() + "# mine\n")
    _refused(kit, tmp_path / "known.zip", "is not known to be as it was made")
    (kit / START).write_text((kit / START).read_text().removesuffix("# mine\n"))
    update_kit(kit, tmp_path / "known.zip")
    require_hardened(kit, Kind.site)


# packages that are refused


def _again(file: Path, change: Callable[[dict[str, bytes]], None], *, compress: int = zipfile.ZIP_STORED) -> Path:
    """Pack a file anew after a change of its members."""
    with zipfile.ZipFile(file) as packed:
        members = {name: packed.read(name) for name in packed.namelist()}
    change(members)
    with zipfile.ZipFile(file, "w", compress) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return file


def _put(name: str, content: bytes) -> Callable[[dict[str, bytes]], None]:
    return lambda members: members.update({name: content})


@pytest.mark.parametrize(
    "change",
    [
        _put(f"kits/oak/{START}", b"#!/bin/sh\ncurl evil\n"),
        _put("kits/oak/startup/client.key", b"key"),
        _put("../../outside", b"x"),
        _put("/etc/cron.d/x", b"x"),
        lambda members: members.pop(f"kits/oak/{START}"),
        lambda members: members.pop("manifest.sig"),
        lambda members: members.update({"manifest.json": members["manifest.json"].replace(b"0.1", b"9.1", 1)}),
        lambda members: members.clear(),
    ],
)
def test_a_tampered_package_is_refused(out: Path, file: Path, change: Any) -> None:
    _refused(_kits(out)["oak"], _again(file, change), "update|signed")


def test_what_is_no_plain_zip_is_refused(out: Path, file: Path, tmp_path: Path) -> None:
    kit = _kits(out)["oak"]
    _refused(kit, _again(file, lambda members: None, compress=zipfile.ZIP_DEFLATED), "is no update")
    (tmp_path / "text.zip").write_text("no zip")
    _refused(kit, tmp_path / "text.zip", "is no update")
    _refused(kit, tmp_path / "absent.zip", "cannot be read")
    (tmp_path / "cut.zip").write_bytes(file.read_bytes()[:-200])
    _refused(kit, tmp_path / "cut.zip", "is no update")


def _signed(out: Path, file: Path, tmp_path: Path, change: Callable[[Update], Update]) -> Path:
    """The update with another content, which the authority signed."""
    authority = read_authority(out / "trial" / "state")
    path = tmp_path / "signed.zip"
    write_update(path, change(read_update(file, authority.certificate)), authority)
    return path


def _with_file(update: Update, path: str, content: bytes) -> Update:
    import hashlib

    kits = tuple(
        kit.model_copy(update={"files": kit.files | {path: hashlib.sha256(content).hexdigest()}})
        for kit in update.manifest.kits
    )
    manifest = update.manifest.model_copy(update={"kits": kits})
    return Update(manifest, {name: {**files, path: content} for name, files in update.files.items()})


@pytest.mark.parametrize(
    "path",
    [
        "../outside",
        "/etc/passwd",
        "startup/client.key",
        "startup/client.crt",
        "startup/rootCA.pem",
        "startup/fed_client.json",
        "local/site.toml",
        "local/ledger.db",
        "local/custom/code.py",
        "local/../startup/sub_start.sh",
    ],
)
def test_a_path_that_is_not_on_the_list_is_refused_even_when_signed(
    out: Path, file: Path, tmp_path: Path, path: str
) -> None:
    signed = _signed(out, file, tmp_path, lambda update: _with_file(update, path, b"x"))
    _refused(_kits(out)["oak"], signed, "no update may replace")


def test_content_that_this_package_would_not_write_is_refused_even_when_signed(
    out: Path, file: Path, tmp_path: Path
) -> None:
    """The operator's key alone brings no program into a hospital."""
    signed = _signed(out, file, tmp_path, lambda update: _with_file(update, START, b"#!/bin/sh\ncurl evil\n"))
    _refused(_kits(out)["oak"], signed, f"{START}: update has other content")


def test_another_federations_is_refused(out: Path, file: Path, tmp_path: Path) -> None:
    _fleet(tmp_path / "other", "other")
    make_update(FederationFolder(tmp_path / "other" / "other"), tmp_path / "other.zip")
    _refused(_kits(out)["oak"], tmp_path / "other.zip", "not signed by the authority of this kit")

    def rename(update: Update) -> Update:
        return Update(update.manifest.model_copy(update={"federation": "other"}), update.files)

    _refused(_kits(out)["oak"], _signed(out, file, tmp_path, rename), "of another federation")


def test_an_older_one_is_refused(out: Path, file: Path, tmp_path: Path) -> None:
    kit = _kits(out)["oak"]

    def of(version: str, made_at: int) -> Path:
        changed = {"fedward": version, "made_at": made_at}
        return _signed(
            out, file, tmp_path, lambda update: Update(update.manifest.model_copy(update=changed), update.files)
        )

    _refused(kit, of("0.0.8", NOW), "update is older than the kit")
    update_kit(kit, file)
    _refused(kit, of(read_stamp(kit).fedward, NOW - 1), "update is older than the kit")
    _refused(kit, of("0.0.10", NOW + 1), "update is older than the kit")
    update_kit(kit, of("0.10.0", NOW - 1))
    assert read_stamp(kit).fedward == "0.10.0"


def test_another_package_than_the_installed_one_is_refused(
    out: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kit_updates, "package_hash", lambda: "1" * 64)
    _refused(_kits(out)["oak"], file, "install Fedward")


def test_a_kit_that_is_not_in_it_is_refused(out: Path, file: Path, tmp_path: Path) -> None:
    def without(update: Update) -> Update:
        kits = tuple(kit for kit in update.manifest.kits if kit.participant != "oak")
        files = {name: one for name, one in update.files.items() if name != "oak"}
        return Update(update.manifest.model_copy(update={"kits": kits}), files)

    _refused(_kits(out)["oak"], _signed(out, file, tmp_path, without), "nothing for this kit")
    with pytest.raises(FederationError, match="neither a site's kit"):
        update_kit(out / "trial" / "prod_00" / "admin@trial.org", file)


def test_a_link_is_not_written_through(out: Path, file: Path, tmp_path: Path) -> None:
    kit = _kits(out)["oak"]
    (tmp_path / "far").write_bytes((kit / START).read_bytes())
    (kit / START).unlink()
    (kit / START).symlink_to(tmp_path / "far")
    _refused(kit, file, "symbolic link")


# killed at any point


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("how", ["killed", "fault"])
def test_at_any_point_the_kit_is_the_old_one_or_the_new_one(
    out: Path, file: Path, number: int, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit = _kits(out)["oak"]
    before, left, real = _tree(kit), number, Path.rename
    shutil.copytree(kit, out / "twin")
    update_kit(out / "twin", file)
    after = _tree(out / "twin")

    def rename(path: Path, target: Path) -> Path:
        nonlocal left
        left -= 1
        if left == 0:
            raise _Killed if how == "killed" else OSError(28, "No space left on device")
        return real(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        if how == "killed":  # a kill runs no code of ours
            quiet = SimpleNamespace(rmtree=lambda path, ignore_errors=False: None, copy2=shutil.copy2)
            patch.setattr(replacement, "shutil", quiet)
        try:
            update_kit(kit, file)
            finished = True
        except (_Killed, FederationError):
            finished = False
    if finished:
        assert left > 0
    replacement.finish(kit)
    assert _tree(kit) in (before, after)
    assert not (kit / replacement.DRAFT).exists() and not (kit / replacement.DECIDED).exists()
    update_kit(kit, file)
    assert _tree(kit) == after


# as typed


def test_the_commands(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kit, file = _kits(out)["oak"], tmp_path / "u.zip"
    assert typed(monkeypatch, "federation", "update", str(out), "--out", str(file)) == 0
    said = capsys.readouterr().out
    assert "oak" in said and "localhost" in said and "fedward site update KIT u.zip" in said
    assert typed(monkeypatch, "federation", "status", "--out", str(out)) == 0
    assert "mixed fleet" not in capsys.readouterr().out, "all are old"
    assert typed(monkeypatch, "site", "update", str(kit), str(file), "--dry-run") == 0
    assert "would be Fedward 0.0.9" in capsys.readouterr().out
    assert typed(monkeypatch, "site", "update", str(kit), str(file)) == 0
    said = capsys.readouterr().out
    assert "+export PYTHONSAFEPATH=1" in said and "Restart its service" in said and "replaced" in said
    assert typed(monkeypatch, "federation", "status", "--out", str(out)) == 0
    assert "mixed fleet: 0.0.9 at localhost, alder" in capsys.readouterr().out
    assert typed(monkeypatch, "site", "update", str(kit), str(file), "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["applied"] is False


def test_content_hash_of_what_is_no_json_is_of_its_bytes() -> None:
    assert content_hash(RESOURCES, b"{") != content_hash(RESOURCES, b"{{")
    assert content_hash(RESOURCES, b'{"components": []}') == content_hash(RESOURCES, b'{ "components":[] }')
    assert content_hash(RIGHTS, b"{}") != content_hash(RIGHTS, b"{ }")


def test_a_kit_keeps_its_owner(out: Path, file: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give files away")
    kit = _kits(out)["oak"]
    os.chown(kit / START, 1234, 1234)
    update_kit(kit, file)
    assert (kit / START).stat().st_uid == 1234


def test_the_status_says_which_version_each_site_runs_and_how_old_that_is(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at = time.time() - 2 * 3600 - 60
    with Store.open(_kits(out)["localhost"] / STORE_FILE, create=True) as store:
        store.write("j1", {"event": "started", "at": at, "job": "tb", "rounds": 1, "sites": list(SITES)})
        store.write("j1", {"event": "admitted", "at": at, "site": "oak", "fedward": "0.2.0"})
        store.write("j1", {"event": "declined", "at": at, "site": "elm", "reason": "no"})
    assert typed(monkeypatch, "federation", "status", "--out", str(out)) == 0
    lines = capsys.readouterr().out.splitlines()
    row = {line.split()[0]: line for line in lines}
    assert "0.2.0, 2 h ago" in row["oak"] and "ago" not in row["elm"]
    assert lines[-1].startswith("mixed fleet: 0.0.9 at localhost, alder") and "0.2.0 at oak" in lines[-1]
    assert typed(monkeypatch, "federation", "status", "--out", str(out), "--format", "json") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert (rows["oak"]["runs"], rows["oak"]["kit"]["fedward"]) == ("0.2.0", "0.0.9")
    assert rows["elm"]["runs"] is None and rows["admin@trial.org"]["kit"]["updated"] == 0
