"""``fedward key``, as the IT of three hospitals types it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedward.encryption.keys.key import FederationKey, create_key
from fedward.encryption.keys.key_file import decode_key, read_key, write_key
from fedward.encryption.keys.sealed_box import grouped, open_box
from fedward.encryption.keys.site_identity import read_identity
from tests.support.command_line import typed
from tests.support.kits import central_kits, own_key_kits

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return central_kits(tmp_path_factory.mktemp("kits")).sites


@pytest.fixture(scope="module")
def own_kits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return own_key_kits(tmp_path_factory.mktemp("own"))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Types a command in an empty folder, with a umask that lets everybody read everything.

    However it ends, what it prints holds no secret of a key below the folder, and every file there is its owner's.
    """
    monkeypatch.chdir(tmp_path)
    before = os.umask(0)

    def act(*arguments: str) -> tuple[int, str, str]:
        code = typed(monkeypatch, "key", *arguments)
        printed = capsys.readouterr()
        for key in secrets_below(tmp_path):
            for form in (key.secret.hex(), base64.b64encode(key.secret).decode(), repr(key.secret)[2:-1]):
                assert form not in printed.out + printed.err
        return code, *printed

    yield act
    os.umask(before)
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or stat.S_IMODE(path.stat().st_mode) == 0o600


def secrets_below(folder: Path) -> Iterator[FederationKey]:
    for path in folder.rglob("*key*"):
        if path.is_file() and b"fedward federation key" in path.read_bytes():
            yield decode_key(path.read_bytes())


def certificate(kit: Path) -> str:
    return str(kit / "startup" / "client.crt")


def fingerprints(out: str) -> list[str]:
    return [line.split("fingerprint ")[1] for line in out.splitlines() if line.startswith("  fingerprint ")]


def refused(answer: tuple[int, str, str], *said: str) -> None:
    code, out, err = answer
    assert (code, out) == (1, "")
    assert err.startswith("fedward: ") and len(err.splitlines()) == 1
    for words in said:
        assert words in err


def test_a_key_is_made_once(run: Run, tmp_path: Path) -> None:
    code, out, err = run("create", "key")
    made = read_key(tmp_path / "key")
    assert (code, err) == (0, "")
    assert (made.scheme, made.generation) == ("aes-ctr", 1) and grouped(made.key_id) in out
    refused(run("create", "key"), "already", "fedward key rotate")
    assert read_key(tmp_path / "key") == made


@pytest.mark.parametrize("scheme", ["aes-ctr", "bfv", "ckks"])
def test_the_ceremony_of_three_hospitals(run: Run, tmp_path: Path, kits: dict[str, Path], scheme: str) -> None:
    assert run("create", "north.key", "--scheme", scheme)[0] == 0
    to = [word for site in ("south", "west") for word in ("--to", certificate(kits[site]))]
    code, out, err = run("seal", "north.key", "--kit", str(kits["north"]), *to, "--out", "boxes")
    assert code == 0 and "on a number that you know" in out
    assert sorted(path.name for path in (tmp_path / "boxes").iterdir()) == ["south.box", "west.box"]
    for site, said in zip(("south", "west"), fingerprints(out), strict=True):
        code, out, err = run("open", f"boxes/{site}.box", f"{site}.key", "--kit", str(kits[site]))
        assert (code, err, fingerprints(out)) == (0, "", [said])
        assert f"sealed by north, to {site}" in out and "Call north on a number that you know" in out
        assert read_key(tmp_path / f"{site}.key") == read_key(tmp_path / "north.key")
    assert read_key(tmp_path / "north.key").scheme == scheme


def test_sealing_says_when_others_may_have_the_recipients_private_key(
    run: Run, kits: dict[str, Path], own_kits: dict[str, Path]
) -> None:
    run("create", "key")
    for made, noted in ((kits, True), (own_kits, False)):
        arguments = ("--kit", str(made["north"]), "--to", certificate(made["south"]), "--out", "boxes")
        code, _, err = run("seal", "key", *arguments)
        assert code == 0
        assert ("note: south's private key was made by who provisioned the kits" in err) is noted
        assert run("open", "boxes/south.box", f"{noted}.key", "--kit", str(made["south"]))[0] == 0


@pytest.fixture
def sealed(run: Run, tmp_path: Path, kits: dict[str, Path]) -> str:
    """Has north's key in a box for south; the fingerprint as it was printed."""
    run("create", "north.key")
    out = run("seal", "north.key", "--kit", str(kits["north"]), "--to", certificate(kits["south"]), "--out", ".")[1]
    return fingerprints(out)[0]


def test_the_expected_fingerprint_in_any_writing_is_taken_and_ends_the_talk(
    run: Run, sealed: str, kits: dict[str, Path]
) -> None:
    for number, said in enumerate((sealed, sealed.upper(), sealed.replace(" ", ""), sealed.replace(" ", "-"))):
        code, out, err = run("open", "south.box", f"{number}.key", "--kit", str(kits["south"]), "--expect", said)
        assert (code, err) == (0, "") and "Call" not in out


def test_another_fingerprint_than_expected_is_refused_and_nothing_is_written(
    run: Run, sealed: str, tmp_path: Path, kits: dict[str, Path]
) -> None:
    arguments = ("open", "south.box", "south.key", "--kit", str(kits["south"]), "--expect")
    other = ("1" if sealed[0] != "1" else "2") + sealed[1:]
    refused(run(*arguments, other), "its fingerprint is another", "must rotate")
    for no_fingerprint in ("", "1234", sealed + " 0000", sealed[:-1]):
        refused(run(*arguments, no_fingerprint), "--expect", "eight groups of four")
    refused(run(*arguments, "é" * 32), "its fingerprint is another")
    assert not (tmp_path / "south.key").exists()


def test_the_same_key_again_changes_nothing(run: Run, sealed: str, tmp_path: Path, kits: dict[str, Path]) -> None:
    arguments = ("open", "south.box", "south.key", "--kit", str(kits["south"]))
    run(*arguments)
    before = (tmp_path / "south.key").stat()
    code, out, err = run(*arguments)
    after = (tmp_path / "south.key").stat()
    assert (code, err) == (0, "") and "already key" in out
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert not (tmp_path / "south.key.1").exists()


def test_a_rotated_key_takes_the_old_ones_place_and_the_old_box_is_refused(
    run: Run, sealed: str, tmp_path: Path, kits: dict[str, Path]
) -> None:
    opening = ("open", "south.box", "south.key", "--kit", str(kits["south"]))
    run(*opening)
    old = read_key(tmp_path / "south.key")
    replayed = shutil.copy(tmp_path / "south.box", tmp_path / "old.box")

    code, out, err = run("rotate", "north.key")
    new = read_key(tmp_path / "north.key")
    assert (code, err) == (0, "")
    assert "north.key.1" in out and "seal` it anew" in out and "end first" in out
    assert (new.generation, new.scheme) == (2, old.scheme) and new.secret != old.secret
    assert read_key(tmp_path / "north.key.1") == old

    run("seal", "north.key", "--kit", str(kits["north"]), "--to", certificate(kits["south"]), "--out", ".")
    code, out, err = run(*opening)
    assert (code, err) == (0, "") and "kept as south.key.1" in out
    assert (read_key(tmp_path / "south.key"), read_key(tmp_path / "south.key.1")) == (new, old)

    again = ("open", str(replayed), "south.key", "--kit", str(kits["south"]))
    refused(run(*again), "generation 1, not a newer one than the generation 2 here", "sent again")
    assert read_key(tmp_path / "south.key") == new


def test_a_rotation_that_destroys_leaves_no_old_key_at_any_hospital(
    run: Run, sealed: str, tmp_path: Path, kits: dict[str, Path]
) -> None:
    opening = ("open", "south.box", "south.key", "--kit", str(kits["south"]))
    run(*opening)
    old = read_key(tmp_path / "north.key")
    run("rotate", "north.key")  # one that kept the old key
    assert (tmp_path / "north.key.1").exists()

    code, out, err = run("rotate", "north.key", "--destroy-old")
    new = read_key(tmp_path / "north.key")
    assert (code, err, new.generation) == (0, "", 3)
    assert "2 files of older keys overwritten and removed" in out and "the old one is kept" not in out
    for words in ("Not promised", "solid-state", "copies on write", "snapshots", "backups", "boxes", "recorded it"):
        assert words in out
    assert "fedward key open BOX KEY --kit KIT --destroy-old" in out and "cannot go on" in out

    to = ("--kit", str(kits["north"]), "--to", certificate(kits["south"]), "--out", ".")
    said = fingerprints(run("seal", "north.key", *to)[1])[0]
    assert read_key(tmp_path / "south.key") == old
    code, out, err = run(*opening, "--expect", said, "--destroy-old")
    assert (code, err) == (0, "") and "1 file of older keys overwritten and removed" in out and "Not promised" in out
    assert sorted(path.name for path in tmp_path.glob("*.key*")) == ["north.key", "south.key"]
    assert read_key(tmp_path / "south.key") == new
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or base64.b64encode(old.secret) not in path.read_bytes()

    code, out, err = run(*opening, "--expect", said, "--destroy-old")
    assert (code, err) == (0, "") and "already key" in out and "no older key was beside it" in out


def test_a_key_that_was_taken_without_destroying_can_be_followed_up(
    run: Run, sealed: str, tmp_path: Path, kits: dict[str, Path]
) -> None:
    opening = ("open", "south.box", "south.key", "--kit", str(kits["south"]))
    run(*opening)
    run("rotate", "north.key")
    to = ("--kit", str(kits["north"]), "--to", certificate(kits["south"]), "--out", ".")
    said = fingerprints(run("seal", "north.key", *to)[1])[0]
    assert "kept as south.key.1" in run(*opening)[1]
    out = run(*opening, "--expect", said, "--destroy-old")[1]
    assert "already key" in out and "1 file of older keys overwritten and removed" in out
    assert not (tmp_path / "south.key.1").exists()


def test_no_key_is_destroyed_for_a_box_that_nobody_vouched_for(
    run: Run, sealed: str, tmp_path: Path, kits: dict[str, Path]
) -> None:
    opening = ("open", "south.box", "south.key", "--kit", str(kits["south"]))
    run(*opening)
    replayed = shutil.copy(tmp_path / "south.box", tmp_path / "old.box")
    run("rotate", "north.key")
    to = ("--kit", str(kits["north"]), "--to", certificate(kits["south"]), "--out", ".")
    said = fingerprints(run("seal", "north.key", *to)[1])[0]
    before = (tmp_path / "south.key").read_bytes()
    refused(run(*opening, "--destroy-old"), "--expect", "vouched for", "does not come back")
    refused(run(*opening, "--destroy-old", "--expect", sealed), "its fingerprint is another")
    assert (tmp_path / "south.key").read_bytes() == before and not (tmp_path / "south.key.1").exists()
    run(*opening, "--expect", said)
    again = ("open", str(replayed), "south.key", "--kit", str(kits["south"]), "--destroy-old", "--expect", sealed)
    refused(run(*again), "generation 1, not a newer one than the generation 2 here")
    assert (tmp_path / "south.key.1").exists(), "an old box destroys nothing"


def test_a_rotation_that_cannot_destroy_says_why_and_rotates_nothing(run: Run, tmp_path: Path) -> None:
    run("create", "key")
    before = (tmp_path / "key").read_bytes()
    os.link(tmp_path / "key", tmp_path / "copy")
    refused(run("rotate", "key", "--destroy-old"), "another name elsewhere", "-samefile key")
    assert (tmp_path / "key").read_bytes() == before
    (tmp_path / "copy").unlink()
    (tmp_path / "key").rename(tmp_path / "real")
    (tmp_path / "key").symlink_to("real")
    refused(run("rotate", "key", "--destroy-old"), "is a link")
    assert (tmp_path / "real").read_bytes() == before


def test_another_key_of_the_same_generation_is_refused(
    run: Run, sealed: str, tmp_path: Path, kits: dict[str, Path]
) -> None:
    mine = create_key()
    write_key(mine, tmp_path / "south.key")
    refused(run("open", "south.box", "south.key", "--kit", str(kits["south"])), "not a newer one")
    assert read_key(tmp_path / "south.key") == mine


def test_a_key_file_that_cannot_be_read_is_not_replaced(
    run: Run, sealed: str, tmp_path: Path, kits: dict[str, Path]
) -> None:
    (tmp_path / "south.key").write_text("not a key")
    (tmp_path / "south.key").chmod(0o600)
    refused(run("open", "south.box", "south.key", "--kit", str(kits["south"])), "damaged")
    assert (tmp_path / "south.key").read_text() == "not a key"


def test_a_box_that_does_not_open_writes_nothing(run: Run, sealed: str, tmp_path: Path, kits: dict[str, Path]) -> None:
    refused(run("open", "south.box", "west.key", "--kit", str(kits["west"])), "for another hospital than west")
    changed = bytearray((tmp_path / "south.box").read_bytes())
    changed[-1] ^= 1
    (tmp_path / "south.box").write_bytes(changed)
    refused(run("open", "south.box", "south.key", "--kit", str(kits["south"])), "was changed after it was sealed")
    refused(run("open", "no.box", "south.key", "--kit", str(kits["south"])), "no.box", "cannot be read")
    assert [path.name for path in tmp_path.glob("*.key*")] == ["north.key"]


def test_all_boxes_are_sealed_or_none(run: Run, tmp_path: Path, kits: dict[str, Path]) -> None:
    run("create", "key")
    south, west, north = (certificate(kits[site]) for site in ("south", "west", "north"))
    seal = ("seal", "key", "--kit", str(kits["north"]), "--out", "boxes", "--to", south, "--to")
    refused(run(*seal, south), "two certificates for one hospital", "south")
    refused(run(*seal, north), "this hospital's own", "north")
    refused(run(*seal, str(tmp_path / "key")), "is not a certificate")
    refused(run(*seal, str(kits["west"] / "startup" / "client.key")), "is not a certificate")
    server = kits["west"].parent / "localhost" / "startup" / "server.crt"
    refused(run(*seal, str(server)), str(server), "the server's")
    assert not (tmp_path / "boxes").exists()
    (tmp_path / "boxes").touch(0o600)
    refused_late = run(*seal, west)
    assert refused_late[0] == 1 and "box cannot be written" in refused_late[2]


def test_a_box_is_sealed_over_an_older_one(run: Run, sealed: str, tmp_path: Path, kits: dict[str, Path]) -> None:
    before = (tmp_path / "south.box").read_bytes()
    run("seal", "north.key", "--kit", str(kits["north"]), "--to", certificate(kits["south"]), "--out", ".")
    after = (tmp_path / "south.box").read_bytes()
    assert after != before
    assert open_box(after, owner=read_identity(kits["south"])).key == read_key(tmp_path / "north.key")


def test_showing_says_which_key_and_never_the_secret(run: Run, tmp_path: Path) -> None:
    key = create_key("aes-ctr", generation=7)
    write_key(key, tmp_path / "key")
    code, out, err = run("show", "key", "--format", "json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {"key_id": key.key_id, "scheme": "aes-ctr", "generation": 7}
    code, out, err = run("show", "key")
    assert (code, err) == (0, "")
    assert out == f"key: key {grouped(key.key_id)}, generation 7, aes-ctr\n"


@pytest.mark.parametrize(
    "arguments", [("show", "key"), ("rotate", "key"), ("seal", "key", "--kit", "k", "--to", "c", "--out", "o")]
)
def test_without_a_key_each_says_where_one_comes_from(run: Run, arguments: tuple[str, ...]) -> None:
    refused(run(*arguments), "no federation key here", "fedward key create")


def test_a_key_that_others_may_read_is_refused_by_every_command(
    run: Run, tmp_path: Path, kits: dict[str, Path]
) -> None:
    write_key(create_key(), tmp_path / "key")
    run("seal", "key", "--kit", str(kits["north"]), "--to", certificate(kits["south"]), "--out", ".")
    (tmp_path / "key").chmod(0o644)
    before = (tmp_path / "key").read_bytes()
    for words in (
        ("show", "key"),
        ("rotate", "key"),
        ("seal", "key", "--kit", str(kits["north"]), "--to", certificate(kits["south"]), "--out", "."),
        ("open", "south.box", "key", "--kit", str(kits["south"])),
    ):
        refused(run(*words), "others may read or change the federation key", "chmod 600 key")
    (tmp_path / "key").chmod(0o600)
    assert (tmp_path / "key").read_bytes() == before
