"""An archive is read within limits and under plain names; what else zip can hold is refused before it is unpacked."""

from __future__ import annotations

import io
import os
import stat
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.errors import JobError
from fedward.privacy.policy import job_archive
from fedward.privacy.policy.job_archive import ARCHIVE_BYTES, ENTRIES, FILE_BYTES, Contents, read_archive, read_folder

pytestmark = pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")


def packed(*entries: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return out.getvalue()


def kind(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def test_what_a_folder_holds_is_what_its_archive_holds(tmp_path: Path) -> None:
    from nvflare.fuel.utils.zip_utils import zip_directory_to_bytes

    (tmp_path / "tiny" / "app" / "config").mkdir(parents=True)
    (tmp_path / "tiny" / "meta.json").write_bytes(b"{}")
    (tmp_path / "tiny" / "app" / "config" / "job.json").write_bytes(b"[]")
    due = Contents({"meta.json": b"{}", "app/config/job.json": b"[]"}, frozenset({"app", "app/config"}))
    assert read_folder(tmp_path / "tiny") == due
    assert read_archive(zip_directory_to_bytes(str(tmp_path / "tiny"), "")) == due
    assert read_archive(zip_directory_to_bytes(str(tmp_path), "tiny"), below="tiny") == due


NAMES = [
    *("/etc/passwd", "../up", "a/../../up", "a//b", "./a", "a/./b", "a\\b", "C:\\a", "é", "a\x01b", "a" * 201),
    *("a/..", "..", ".", "/"),
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_no_plain_path_is_refused(name: str) -> None:
    with pytest.raises(JobError):
        read_archive(packed((name, b"x")))


def test_a_name_that_is_cut_at_a_zero_byte_is_refused() -> None:
    data = packed(("aXjson", b"x")).replace(b"aXjson", b"a\0json")
    with pytest.raises(JobError):
        read_archive(data)


def test_a_name_that_is_empty_is_refused() -> None:
    data = packed(("a", b""))
    at = data.index(b"PK\x01\x02")
    shorter = data[at : at + 28] + b"\0\0" + data[at + 30 : at + 46]
    end = data[-22:-10] + len(shorter).to_bytes(4, "little") + data[-6:]
    with pytest.raises(JobError):
        read_archive(data[:at] + shorter + end)


@pytest.mark.parametrize(("one", "two"), [("a", "a"), ("a", "A"), ("a/b", "A/B"), ("a", "a/b"), ("a/", "a")])
def test_a_name_that_comes_twice_is_refused(one: str, two: str) -> None:
    with pytest.raises(JobError):
        read_archive(packed((one, b""), (two, b"x")))


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK, stat.S_IFDIR])
def test_what_is_no_plain_file_is_refused(mode: int) -> None:
    with pytest.raises(JobError, match="link or a device"):
        read_archive(packed((kind("a", mode | 0o777), b"/etc/passwd")))


def test_a_bomb_is_refused_and_not_unpacked() -> None:
    assert len(packed(("a", b"\0" * (FILE_BYTES + 1)), method=zipfile.ZIP_DEFLATED)) < 2_000
    for content in (b"\0" * (FILE_BYTES + 1), b"\0" * 2**28):
        with pytest.raises(JobError, match="larger"):
            read_archive(packed(("a", content), method=zipfile.ZIP_DEFLATED))
    many = [(str(number), b"\0" * (FILE_BYTES - 1)) for number in range(3)]
    with pytest.raises(JobError, match="larger"):
        read_archive(packed(*many, method=zipfile.ZIP_DEFLATED))


def test_a_size_that_the_archive_understates_is_refused() -> None:
    data = bytearray(packed(("a", b"\0" * 100_000), method=zipfile.ZIP_DEFLATED))
    for mark, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        at = data.index(mark) + offset
        data[at : at + 4] = (10).to_bytes(4, "little")
    with pytest.raises(JobError):
        read_archive(bytes(data))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_another_packing_is_refused(method: int) -> None:
    with pytest.raises(JobError, match="another way"):
        read_archive(packed(("a", b"x"), method=method))


def test_too_many_entries_and_too_many_bytes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="more files"):
        read_archive(packed(*((str(number), b"") for number in range(ENTRIES + 1))))
    with pytest.raises(JobError, match="larger"):
        read_archive(b"\0" * (ARCHIVE_BYTES + 1))
    for number in range(ENTRIES + 1):
        (tmp_path / str(number)).touch()
    with pytest.raises(JobError, match="more files"):
        read_folder(tmp_path)


@pytest.mark.parametrize("name", ["a", "tiny", "tinyish/a", "other/tiny/a", "Tiny/a"])
def test_everything_is_below_the_jobs_own_folder(name: str) -> None:
    with pytest.raises(JobError):
        read_archive(packed((name, b"x")), below="tiny")


@given(st.binary(max_size=200))
def test_bytes_that_are_no_archive_are_refused(data: bytes) -> None:
    with pytest.raises(JobError):
        read_archive(data)


@given(st.data())
def test_a_damaged_archive_is_read_right_or_refused(data: st.DataObject) -> None:
    """Whatever a byte of it is changed to, no other exception comes, and no other content under the right name."""
    whole = bytearray(packed(("app/a", b"content one"), ("app/b", b"content two"), method=zipfile.ZIP_DEFLATED))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] = data.draw(st.integers(0, 255))
    try:
        found = read_archive(bytes(whole))
    except JobError:
        return
    assert {found.files.get("app/a", b"content one"), found.files.get("app/b", b"content two")} <= {
        b"content one",
        b"content two",
    }


@pytest.mark.parametrize("what", ["file", "folder", "dangling", "fifo", "itself", "above"])
def test_a_link_or_a_device_in_a_folder_is_refused(tmp_path: Path, what: str) -> None:
    folder, real = tmp_path / "job", tmp_path / "real"
    folder.mkdir()
    real.mkdir()
    (real / "file").write_bytes(b"x")
    link = folder / "link"
    if what == "fifo":
        os.mkfifo(link)
    elif what == "itself":
        folder.rmdir()
        folder.symlink_to(real)
    else:
        link.symlink_to({"file": real / "file", "folder": real, "dangling": real / "no", "above": tmp_path}[what])
    with pytest.raises(JobError):
        read_folder(folder)


def test_a_folder_that_is_absent_or_whose_file_is_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JobError):
        read_folder(tmp_path / "no")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(job_archive.FILE_BYTES + 1)
    with pytest.raises(JobError, match="larger"):
        read_folder(tmp_path)
