"""Old keys are destroyed: never before the new one is on the disk, and after a kill at any step by doing it again."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedward.encryption.keys.key import FederationKey, create_key
from fedward.encryption.keys.key_file import encode_key, read_key, replace_key, write_key
from fedward.encryption.keys.old_keys import Destroyed, replace_and_destroy
from fedward.errors import EncryptionError
from fedward.files import write_atomic

OLDEST, OLDER, OLD, NEW = (create_key(generation=number) for number in (1, 2, 3, 4))
DRAFT = ".key.0123456789abcdef.draft"
STEPS = ("open", "link", "replace", "rename", "unlink", "fsync", "urandom", "fdopen")
"""Functions of ``os`` through which files change; ``pathlib`` goes through them too."""
KILLED = 77


def rotated(folder: Path) -> Path:
    """A key that was rotated twice, with what a kill left of a rotation."""
    path = folder / "key"
    write_key(OLDEST, path)
    replace_key(OLDER, path)
    replace_key(OLD, path)
    write_atomic(folder / DRAFT, encode_key(OLD)[:100], mode=0o600, replace=False)
    return path


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def kept_open(folder: Path) -> dict[str, int]:
    """A handle on each file, which shows its bytes when it has no name any more."""
    return {entry.name: os.open(entry, os.O_RDONLY) for entry in folder.iterdir()}


def tells(content: bytes, key: FederationKey) -> bool:
    """True if the content holds any 12 bytes of the secret."""
    secret = base64.b64encode(key.secret)
    return any(secret[at : at + 16] in content for at in range(0, len(secret) - 15, 4))


def test_every_older_key_is_overwritten_and_gone(tmp_path: Path) -> None:
    path = rotated(tmp_path)
    assert names(tmp_path) == [DRAFT, "key", "key.1", "key.2"]
    handles = kept_open(tmp_path)
    before = {name: os.pread(handle, 2**16, 0) for name, handle in handles.items()}
    assert sum(tells(content, key) for content in before.values() for key in (OLDEST, OLDER, OLD)) >= 3
    assert replace_and_destroy(NEW, path) == Destroyed(4, {})
    assert (names(tmp_path), read_key(path)) == (["key"], NEW)
    for name, handle in handles.items():
        after = os.pread(handle, 2**16, 0)
        os.close(handle)
        assert len(after) == len(before[name]), "written over, not cut"
        assert not any(tells(after, key) for key in (OLDEST, OLDER, OLD)), name


def test_where_the_new_key_is_already_what_is_older_goes_and_it_stays_as_it_is(tmp_path: Path) -> None:
    path = rotated(tmp_path)
    replace_key(NEW, path)
    before = path.stat()
    assert replace_and_destroy(NEW, path).removed == 4
    assert names(tmp_path) == ["key"] and read_key(path) == NEW
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert replace_and_destroy(NEW, path) == Destroyed(0, {})


def test_where_no_key_was_the_new_one_is_written(tmp_path: Path) -> None:
    path = tmp_path / "local" / "key"
    assert replace_and_destroy(NEW, path) == Destroyed(0, {})
    assert read_key(path) == NEW


def test_what_is_not_an_old_key_of_this_path_stays(tmp_path: Path) -> None:
    path = rotated(tmp_path)
    others = ("site.key", "key.txt", "key.1.bak", "key.old", "keys.1", ".key.1.draft", ".key2.0123456789abcdef.draft")
    for name in others:
        (tmp_path / name).write_text(name)
    write_key(OLDEST, tmp_path / "other.key")
    write_key(OLDEST, tmp_path / "other.key.1")
    replace_and_destroy(NEW, path)
    assert names(tmp_path) == sorted(["key", "other.key", "other.key.1", *others])
    assert all((tmp_path / name).read_text() == name for name in others)
    assert read_key(tmp_path / "other.key.1") == OLDEST


def dies_at(step: int, act: Callable[[], object]) -> bool:
    """True if ``act``, in a separate process, gets as far as its ``step``-th change; it is killed there."""
    child = os.fork()
    if not child:
        left = step
        for name in STEPS:
            setattr(os, name, _counted(getattr(os, name), lambda: _count()))

        def _count() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                os._exit(KILLED)

        act()
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, KILLED)
    return code == KILLED


def _counted(function: Callable[..., Any], count: Callable[[], None]) -> Callable[..., Any]:
    def counted(*words: Any, **more: Any) -> Any:
        count()
        return function(*words, **more)

    return counted


def test_a_kill_at_any_step_leaves_a_whole_key_and_again_completes(tmp_path: Path) -> None:
    step, held = 0, set()
    while True:
        folder = tmp_path / str(step)
        folder.mkdir()
        path = rotated(folder)
        if not dies_at(step, lambda path=path: replace_and_destroy(NEW, path)):  # type: ignore[misc]
            break
        key = read_key(path)
        assert key in (OLD, NEW), step
        if key == OLD:
            assert {"key", "key.1", "key.2", DRAFT} <= set(names(folder)), "destroyed before the new one is in place"
        held.add(key.generation)
        replace_and_destroy(NEW, path)
        assert (names(folder), read_key(path)) == (["key"], NEW), step
        step += 1
    assert step > 25 and held == {3, 4}


@given(before=st.integers(0, 40), again=st.integers(0, 40))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_two_kills_and_another_key_each_time(tmp_path: Path, before: int, again: int) -> None:
    """As ``fedward key rotate`` does, which makes another key when it is typed again."""
    folder = tmp_path / os.urandom(8).hex()
    folder.mkdir()
    path = rotated(folder)
    for step in (before, again):
        dies_at(step, lambda: replace_and_destroy(create_key(generation=read_key(path).generation + 1), path))
        assert read_key(path).generation in (3, 4, 5)
    last = create_key(generation=read_key(path).generation + 1)
    replace_and_destroy(last, path)
    assert (names(folder), read_key(path)) == (["key"], last)


def test_nothing_is_destroyed_before_the_new_key_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, done = rotated(tmp_path), list[str]()
    for name in ("fsync", "urandom", "unlink", "replace"):
        monkeypatch.setattr(os, name, _counted(getattr(os, name), lambda name=name: done.append(name)))  # type: ignore[misc]
    replace_and_destroy(NEW, path)
    first = done.index("replace")
    assert done[:first].count("fsync") == 1, "the new key's bytes"
    assert done.index("fsync", first) < done.index("urandom"), "its name, before a byte of an old key goes"
    last = len(done) - 1 - done[::-1].index("unlink")
    assert "fsync" in done[last:], "that the last name is gone"


def test_bytes_are_on_the_disk_before_their_name_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, written = rotated(tmp_path), set[int]()
    sync, unlink = os.fsync, os.unlink

    def synced(handle: int) -> None:
        written.add(os.fstat(handle).st_ino)
        sync(handle)

    def gone(name: Any, **more: Any) -> None:
        if str(name).endswith(".old"):
            assert Path(name).stat().st_ino in written, name
        unlink(name, **more)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "unlink", gone)
    assert replace_and_destroy(NEW, path).removed == 4


@pytest.fixture
def refused(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Holds that a refusal is one line and changes no file."""

    def hold(path: Path, *words: str, new: FederationKey = NEW) -> None:
        before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir() if entry.is_file()}
        with pytest.raises(EncryptionError) as refusal:
            replace_and_destroy(new, path)
        said = str(refusal.value)
        assert len(said.splitlines()) == 1 and all(word in said for word in words), said
        assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir() if entry.is_file()} == before

    yield hold


def test_links_are_refused_and_what_they_lead_to_is_left(tmp_path: Path, refused: Callable[..., None]) -> None:
    elsewhere = tmp_path / "elsewhere"
    write_key(OLDEST, elsewhere)
    path = rotated(tmp_path)
    (tmp_path / "key.7").symlink_to(elsewhere)
    refused(path, "key.7", "is a link")
    (tmp_path / "key.7").unlink()
    (tmp_path / ".key.00000000000000aa.old").symlink_to(elsewhere)
    refused(path, ".old", "is a link")
    (tmp_path / ".key.00000000000000aa.old").unlink()
    path.rename(tmp_path / "real")
    path.symlink_to(tmp_path / "real")
    refused(path, "is a link", "give the file itself")
    assert read_key(tmp_path / "real") == OLD and read_key(elsewhere) == OLDEST


@pytest.mark.parametrize("name", ["key", "key.2", DRAFT])
def test_an_old_key_with_another_name_elsewhere_is_refused(
    tmp_path: Path, refused: Callable[..., None], name: str
) -> None:
    path = rotated(tmp_path)
    os.link(tmp_path / name, tmp_path / "snapshot")
    refused(path, name, "another name elsewhere", f"find / -xdev -samefile {tmp_path / name}")
    (tmp_path / "snapshot").unlink()
    assert replace_and_destroy(NEW, path).removed == 4


def test_a_second_name_that_a_kill_left_is_no_other_name(tmp_path: Path) -> None:
    """``write_key`` was killed between taking the name and giving the draft's name up."""
    path = tmp_path / "key"
    write_key(NEW, path)
    os.link(path, tmp_path / DRAFT)
    assert replace_and_destroy(NEW, path).removed == 1
    assert (names(tmp_path), read_key(path)) == (["key"], NEW), "the key in use is not written over"
    write_key(OLDER, tmp_path / "key.2")
    os.link(tmp_path / "key.2", tmp_path / ".key.2.0123456789abcdef.draft")
    assert replace_and_destroy(NEW, path).removed == 2


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_refused(tmp_path: Path, refused: Callable[..., None], kind: str) -> None:
    path = rotated(tmp_path)
    (tmp_path / "key.9").mkdir() if kind == "folder" else os.mkfifo(tmp_path / "key.9", 0o600)
    refused(path, "key.9", "no file")


def test_a_file_that_is_no_older_key_is_refused(tmp_path: Path, refused: Callable[..., None]) -> None:
    path = rotated(tmp_path)
    write_atomic(tmp_path / "key.2024", b"notes of 2024", mode=0o600, replace=False)
    refused(path, "key.2024", "damaged")
    (tmp_path / "key.2024").unlink()
    for key in (NEW, create_key(generation=9)):
        write_key(key, tmp_path / "key.9")
        refused(path, "key.9", f"generation {key.generation}", "not older")
        (tmp_path / "key.9").unlink()
    (tmp_path / "key.1").chmod(0o644)
    refused(path, "key.1", "chmod 600")
    path.write_text("not a key")
    refused(path, "damaged")


@pytest.mark.parametrize("name", ["link", "fsync"])
def test_a_disk_that_fails_leaves_the_old_key_and_the_kept_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, refused: Callable[..., None]
) -> None:
    path = rotated(tmp_path)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, name, full)
    refused(path, "No space left")
    assert read_key(path) == OLD


def test_bytes_that_cannot_be_overwritten_are_removed_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, urandom = rotated(tmp_path), os.urandom

    def fails(size: int) -> bytes:
        monkeypatch.setattr(os, "urandom", urandom)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("fedward.encryption.keys.old_keys.os.urandom", fails)
    done = replace_and_destroy(NEW, path)
    assert done.removed == 4 and [*done.not_overwritten.values()] == ["Input/output error"]
    assert names(tmp_path) == ["key"]


def test_a_name_that_cannot_be_removed_is_told_with_the_new_key_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, unlink = rotated(tmp_path), os.unlink

    def held(name: Any, **more: Any) -> None:
        if str(name).endswith(".old"):
            raise PermissionError(1, "Operation not permitted")
        unlink(name, **more)

    monkeypatch.setattr(os, "unlink", held)
    with pytest.raises(EncryptionError, match=r"new key is in place.*Operation not permitted.*remove it by hand"):
        replace_and_destroy(NEW, path)
    monkeypatch.setattr(os, "unlink", unlink)
    assert read_key(path) == NEW
    assert replace_and_destroy(NEW, path).removed == 4
    assert names(tmp_path) == ["key"]


def test_two_at_the_same_time_leave_one_whole_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The draft of another's new key, met while it is written, never becomes a key of random bytes."""
    path, replace = rotated(tmp_path), os.replace
    other = create_key(generation=5)

    def meanwhile(source: Any, target: Any, **more: Any) -> None:
        monkeypatch.setattr(os, "replace", replace)
        replace_and_destroy(other, path)
        replace(source, target, **more)

    monkeypatch.setattr(os, "replace", meanwhile)
    with pytest.raises(EncryptionError, match="cannot be written"):
        replace_and_destroy(NEW, path)
    assert read_key(path) == other
