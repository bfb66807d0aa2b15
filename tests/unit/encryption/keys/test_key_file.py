"""A key file: its owner's alone from the first byte, whole or not there, and not a bit other than it was written."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.encryption.keys.key import FederationKey, create_key
from fedward.encryption.keys.key_file import decode_key, encode_key, read_key, replace_key, write_key
from fedward.errors import EncryptionError
from fedward.files import write_atomic

KEY = FederationKey(scheme="aes-ctr", generation=3, secret=bytes(range(100, 132)))
TEXT = encode_key(KEY)
KEYS = st.builds(
    FederationKey,
    scheme=st.just("aes-ctr"),
    generation=st.integers(1, 2**31 - 1),
    secret=st.binary(min_size=32, max_size=32),
) | st.builds(
    FederationKey,
    scheme=st.sampled_from(["bfv", "ckks"]),
    generation=st.integers(1, 2**31 - 1),
    secret=st.binary(min_size=32, max_size=32),
    context=st.binary(min_size=1, max_size=200),
)


@pytest.fixture
def open_umask() -> Iterator[None]:
    """A process that gives everything to everyone unless it says otherwise."""
    before = os.umask(0)
    yield
    os.umask(before)


def tells(error: BaseException | None, secret: bytes) -> bool:
    """True if an error, or one behind it, carries the secret in any form."""
    forms = (str(secret), secret.hex(), base64.b64encode(secret).decode(), repr(secret)[2:-1])
    while error is not None:
        held = f"{error!r} {error} {error.args!r} {vars(error)!r} {getattr(error, 'doc', '')!r}"
        if any(form in held for form in forms):
            return True
        error = error.__cause__ or error.__context__
    return False


@given(key=KEYS)
def test_there_and_back(key: FederationKey) -> None:
    assert decode_key(encode_key(key)) == key


def test_the_file_is_text_that_says_what_it_is(tmp_path: Path) -> None:
    write_key(KEY, tmp_path / "key")
    content = json.loads((tmp_path / "key").read_text(encoding="ascii"))
    assert content == {
        "magic": "fedward federation key",
        "version": 1,
        "key_id": KEY.key_id,
        "scheme": "aes-ctr",
        "generation": 3,
        "secret": base64.b64encode(KEY.secret).decode(),
        "context": "",
    }
    assert read_key(tmp_path / "key") == KEY


@given(bit=st.integers(0, 8 * len(TEXT) - 1))
def test_a_flipped_bit_is_damage_and_shows_nothing(bit: int) -> None:
    text = bytearray(TEXT)
    text[bit // 8] ^= 1 << bit % 8
    with pytest.raises(EncryptionError, match="damaged") as refusal:
        decode_key(bytes(text))
    assert not tells(refusal.value, KEY.secret)


@given(text=st.binary(max_size=80) | st.integers(0, len(TEXT) - 1).map(lambda end: TEXT[:end]))
def test_what_is_no_key_is_refused(text: bytes) -> None:
    with pytest.raises(EncryptionError, match="damaged"):
        decode_key(text)


def changed(**fields: Any) -> bytes:
    content = json.loads(TEXT) | fields
    return (json.dumps({k: v for k, v in content.items() if v is not ...}, indent=2) + "\n").encode()


@pytest.mark.parametrize(
    "text",
    [
        changed(magic="another"),
        changed(version=2),
        changed(more=1),
        changed(context=...),
        changed(key_id=create_key().key_id),
        changed(generation=4),
        changed(generation=True),
        changed(generation=3.0),
        changed(generation=0),
        changed(generation=10**400),
        changed(scheme="rot13"),
        changed(scheme=[]),
        changed(scheme="bfv"),
        changed(secret=base64.b64encode(bytes(31)).decode()),
        changed(secret=5),
        changed(secret="é"),
        changed(context=base64.b64encode(b"x").decode()),
        TEXT + b"\n",
        TEXT.replace(b"  ", b" "),
        TEXT.replace(b'"version": 1', b'"version": 1,\n  "version": 1'),
        b"[" * 100_000,
        b"null",
        b"",
    ],
)
def test_a_file_that_is_nearly_a_key_is_refused_in_one_line(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "key"
    write_atomic(path, text, mode=0o600, replace=False)
    with pytest.raises(EncryptionError, match="damaged") as refusal:
        read_key(path)
    assert str(path) in str(refusal.value) and len(str(refusal.value).splitlines()) == 1
    assert not tells(refusal.value, KEY.secret)


@pytest.mark.parametrize(
    "part",
    [
        {"secret": bytes(31)},
        {"secret": bytes(33)},
        {"context": b"context"},
        {"scheme": "bfv"},
        {"generation": 0},
        {"generation": 2**31},
        {"scheme": "rot13", "context": b"context"},
    ],
)
def test_a_key_that_cannot_be_is_refused_though_its_file_is_whole(part: dict[str, Any]) -> None:
    with pytest.raises(EncryptionError, match="damaged"):
        decode_key(encode_key(dataclasses.replace(KEY, **part)))


@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
def test_the_file_is_its_owners_alone_from_its_first_byte(
    tmp_path: Path, umask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[int] = []
    synced = os.fsync

    def look(handle: int) -> None:
        modes.extend(stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir())
        synced(handle)

    opened: list[int] = []
    opening = os.open

    def note(path: Any, flags: int, mode: int = 0o777, **how: Any) -> int:
        if flags & os.O_CREAT:
            opened.append(mode)
        return opening(path, flags, mode, **how)

    monkeypatch.setattr(os, "fsync", look)
    monkeypatch.setattr(os, "open", note)
    before = os.umask(umask)
    try:
        write_key(KEY, tmp_path / "key")
        write_key(create_key(generation=4), tmp_path / "key", replace=True)
    finally:
        os.umask(before)
    assert opened == [0o600, 0o600]
    assert len(modes) >= 4 and set(modes) == {0o600}
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_folder_that_is_made_is_the_owners_alone(tmp_path: Path, open_umask: None) -> None:
    write_key(KEY, tmp_path / "new" / "key")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_a_key_is_not_overwritten_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_key(KEY, path)
    with pytest.raises(EncryptionError, match="already"):
        write_key(create_key(), path)
    assert read_key(path) == KEY
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]
    other = create_key()
    write_key(other, path, replace=True)
    assert read_key(path) == other


@pytest.mark.parametrize("replace", [True, False])
def test_a_disk_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replace: bool
) -> None:
    path = tmp_path / "key"
    if replace:
        write_key(KEY, path)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EncryptionError, match="cannot be written: 'No space left") as refusal:
        write_key(create_key(generation=4), path, replace=replace)
    assert not tells(refusal.value, KEY.secret)
    assert [entry.name for entry in tmp_path.iterdir()] == (["key"] if replace else [])
    assert not replace or read_key(path) == KEY


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o602, 0o610])
def test_a_key_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    write_key(KEY, path)
    path.chmod(mode)
    with pytest.raises(EncryptionError, match=f"chmod 600 {path}") as refusal:
        read_key(path)
    assert oct(mode) in str(refusal.value) and not tells(refusal.value, KEY.secret)
    path.chmod(0o600)
    assert read_key(path) == KEY


def test_what_is_not_there_or_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EncryptionError, match=r"no federation key here.*fedward key create"):
        read_key(tmp_path / "key")
    with pytest.raises(EncryptionError, match=r"cannot be read|is not a file"):
        read_key(tmp_path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(EncryptionError, match="is not a file"):
        read_key(tmp_path / "pipe")
    with pytest.raises(EncryptionError, match="cannot be read"):
        read_key(tmp_path / "pipe" / "key")


def test_a_file_too_large_to_be_a_key_is_not_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_atomic(path, b"", mode=0o600, replace=False)
    os.truncate(path, 2**40)
    with pytest.raises(EncryptionError, match="too large"):
        read_key(path)


def test_a_new_key_keeps_the_old_one_beside_it(tmp_path: Path, open_umask: None) -> None:
    path, new = tmp_path / "key", create_key(generation=4)
    write_key(KEY, path)
    assert replace_key(new, path) == tmp_path / "key.3"
    assert (read_key(path), read_key(tmp_path / "key.3")) == (new, KEY)
    assert {stat.S_IMODE(entry.stat().st_mode) for entry in tmp_path.iterdir()} == {0o600}


def test_replacing_can_be_done_again_after_a_kill(tmp_path: Path) -> None:
    path, new = tmp_path / "key", create_key(generation=4)
    write_key(KEY, path)
    write_key(KEY, tmp_path / "key.3")
    replace_key(new, path)
    assert (read_key(path), read_key(tmp_path / "key.3")) == (new, KEY)


def test_an_old_key_never_takes_the_place_of_another(tmp_path: Path) -> None:
    path, other = tmp_path / "key", create_key(generation=3)
    write_key(KEY, path)
    write_key(other, tmp_path / "key.3")
    with pytest.raises(EncryptionError, match="another key has the name"):
        replace_key(create_key(generation=4), path)
    assert (read_key(path), read_key(tmp_path / "key.3")) == (KEY, other)
