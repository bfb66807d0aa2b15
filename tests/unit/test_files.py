"""A file is written whole or not at all, with the permissions that were asked for from its first byte on."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fedward
from fedward.files import here, same_anywhere, write_atomic


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_three(file: BinaryIO) -> None:
    file.write(b"1")
    file.write(b"23")


@pytest.mark.parametrize(
    ("content", "due"), [("ε\n", "ε\n".encode()), (b"\x00\xff", b"\x00\xff"), (write_three, b"123")]
)
def test_text_bytes_and_a_writer(tmp_path: Path, content: Any, due: bytes) -> None:
    path = tmp_path / "new" / "a"
    write_atomic(path, content)
    assert path.read_bytes() == due and names(path.parent) == ["a"]
    write_atomic(path, b"again")
    assert path.read_bytes() == b"again" and names(path.parent) == ["a"]


@pytest.mark.parametrize("mode", [0o600, 0o640, None])
def test_permissions_are_there_before_the_first_byte(tmp_path: Path, mode: int | None) -> None:
    seen = []

    def look(file: BinaryIO) -> None:
        seen.append(stat.S_IMODE(os.fstat(file.fileno()).st_mode))

    before = os.umask(0o007)
    try:
        write_atomic(tmp_path / "deep" / "a", look, mode=mode)
    finally:
        os.umask(before)
    due = 0o660 if mode is None else mode
    assert seen == [due] == [stat.S_IMODE((tmp_path / "deep" / "a").stat().st_mode)]
    assert stat.S_IMODE((tmp_path / "deep").stat().st_mode) == (0o700 if mode == 0o600 else 0o770)


def test_a_name_that_is_taken_is_left_alone(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", "old")
    with pytest.raises(FileExistsError):
        write_atomic(tmp_path / "a", "new", replace=False)
    assert (tmp_path / "a").read_text() == "old" and names(tmp_path) == ["a"]


@pytest.mark.parametrize("call", ["fsync", "write"])
def test_what_fails_leaves_the_old_file_and_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    write_atomic(tmp_path / "a", "old")
    if call == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(tmp_path / "a", full if call == "write" else "new")
    assert (tmp_path / "a").read_text() == "old" and names(tmp_path) == ["a"]


def test_the_group_of_the_folder(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root gives a folder any group")
    os.chown(tmp_path, -1, 12345)
    write_atomic(tmp_path / "a", "x", mode=0o640, share_group=True)
    assert (tmp_path / "a").stat().st_gid == 12345


@given(raw=st.binary(min_size=1, max_size=40).filter(lambda name: not {0, 47} & set(name)))
def test_a_file_name_is_one_text_whatever_the_locale(raw: bytes) -> None:
    text = same_anywhere(os.fsdecode(raw))
    assert text == raw.decode("utf-8", "surrogateescape")
    assert here(Path(text)) == Path(text)


LIST = """
import os, sys
from pathlib import Path
from fedward.files import here, same_anywhere
root = Path(os.fsdecode(os.fsencode(sys.argv[1])))
names = sorted(same_anywhere(name) for name in os.listdir(root))
print(ascii([(name, here(root / name).read_bytes()) for name in names]))
"""


@pytest.mark.parametrize("folder", ["plain", "Röntgen"])
def test_a_file_is_found_by_that_text_in_a_locale_without_its_letters(tmp_path: Path, folder: str) -> None:
    root = tmp_path / folder
    root.mkdir()
    names = [b"a.dcm", "bïld ß.dcm".encode(), b"b\xefld.dcm", b"\xff\xfe", "Ã¯".encode()]
    for name in names:
        Path(os.fsdecode(os.fsencode(root) + b"/" + name)).write_bytes(name)
    due = ascii(sorted((name.decode("utf-8", "surrogateescape"), name) for name in names))
    for locale in ({"PYTHONUTF8": "1"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}):
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "PYTHON"))}
        source = str(Path(fedward.__file__).parents[1])
        done = subprocess.run(
            [sys.executable, "-c", LIST, str(root)],
            env={**kept, "PYTHONPATH": source, **locale},
            capture_output=True,
            check=True,
            timeout=30,
        )
        assert done.stdout.decode("ascii").strip() == due
