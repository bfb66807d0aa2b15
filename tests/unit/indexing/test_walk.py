"""Every file is seen, by rule or by name; what did not change is known from the last time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedward.dicom.segmentation import FramePlace
from fedward.errors import CohortError
from fedward.indexing import walk as walk_module
from fedward.indexing.quality import FileFacts
from fedward.indexing.walk import CACHE, fingerprint, read_cache, split_known, walk, write_cache
from tests.support.images.dicom_files import site


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def test_every_file_in_order_of_path_whatever_its_name(tmp_path: Path) -> None:
    names = ["a.dcm", "b/1", "b/c/readme.txt", "no suffix", "ß.dcm"]
    touch(tmp_path, *names)
    found = walk(tmp_path, "image")
    assert [one.path for one in found] == sorted(names)
    assert [one.size for one in found] == [len(one.path.encode()) for one in found]


def test_what_is_left_out_by_rule(tmp_path: Path) -> None:
    touch(
        tmp_path, "a", ".DS_Store", ".git/x", "b/Thumbs.db", "DICOMDIR", "desktop.ini", "labels.csv", "index/x", "seg/m"
    )
    left = [tmp_path / "labels.csv", tmp_path / "index", tmp_path / "seg"]
    assert [one.path for one in walk(tmp_path, "image", without=left)] == ["a"]
    assert [one.path for one in walk(tmp_path / "seg", "mask", without=[tmp_path])] == ["m"]


def test_links_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, "in/a", "out/b")
    (tmp_path / "in" / "more").symlink_to(tmp_path / "out")
    (tmp_path / "out" / "back").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "gone").symlink_to(tmp_path / "nowhere")
    assert [(one.path, one.size) for one in walk(tmp_path / "in", "image")] == [("a", 4), ("gone", -1), ("more/b", 5)]


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    touch(tmp_path, "file")
    with pytest.raises(CohortError, match="no such folder; correct the cohort's images in site"):
        walk(tmp_path / "absent", "image")
    with pytest.raises(CohortError, match="not a folder; correct the cohort's masks"):
        walk(tmp_path / "file", "mask")


FINDINGS = st.builds(
    FileFacts,
    path=st.text(st.characters(codec="utf-8"), min_size=1),
    size=st.integers(0),
    mtime_ns=st.integers(0),
    role=st.sampled_from(["image", "mask"]),
    reason=st.sampled_from(["", "truncated"]),
    shape=st.lists(st.integers(1, 9), max_size=3).map(tuple),
    spacing_mm=st.none() | st.tuples(st.floats(0.1, 9), st.floats(0.1, 9)),
    age_decade=st.none() | st.just(40),
    positions_mm=st.lists(st.just(()) | st.tuples(*[st.floats(-9, 9)] * 3), max_size=3).map(tuple),
    frames=st.lists(st.integers(0, 9), max_size=3).map(tuple),
    mask_frames=st.lists(
        st.builds(
            FramePlace,
            st.lists(st.tuples(st.text(max_size=3), st.none() | st.integers(1, 3)), max_size=2).map(tuple),
            st.just((1.0, 2.0, 3.0)),
        ),
        max_size=2,
    ).map(tuple),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(findings=st.lists(FINDINGS, max_size=4, unique_by=lambda one: (one.role, one.path)))
def test_what_is_kept_comes_back(tmp_path_factory: pytest.TempPathFactory, findings: list[FileFacts]) -> None:
    folder = tmp_path_factory.mktemp("cache")
    write_cache(folder, '{"a": 1}', findings)
    assert sorted(map(repr, read_cache(folder, '{"a": 1}').values())) == sorted(map(repr, findings))
    assert read_cache(folder, '{"a": 2}') == {}


@pytest.mark.parametrize("content", ["", "{}", "not json", '{"a": 1}\n[1, 2]', '{"a": 1}\n{}', "\udcff"])
def test_a_damaged_cache_is_as_good_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / CACHE).write_bytes(content.encode("utf-8", "surrogateescape"))
    assert read_cache(tmp_path, '{"a": 1}') == {}


def test_what_changed_is_read_again() -> None:
    before = FileFacts(path="a", size=3, mtime_ns=5, role="image", sha256="x")
    now = replace(before, sha256="")
    cache = {("image", "a"): before}
    assert split_known([now], cache) == ([before], [])
    for changed in (replace(now, size=4), replace(now, mtime_ns=6), replace(now, path="b"), replace(now, role="mask")):
        assert split_known([changed], cache) == ([], [changed])


def test_what_could_not_be_opened_is_tried_again() -> None:
    before = FileFacts(path="a", size=3, mtime_ns=5, role="image", reason="unreadable")
    assert split_known([before], {("image", "a"): before}) == ([], [before])


def test_the_fingerprint_follows_what_a_finding_depends_on(tmp_path: Path) -> None:
    def mark(key: str = "k", **cohort: object) -> str:
        return fingerprint(site(tmp_path, **cohort).cohorts["chest"], key)

    assert mark() == mark(max_quarantined_fraction=0.1, validation_fraction=0.5, require=("mask",))
    different = [
        mark("other"),
        mark(modalities=("CR",)),
        mark(body_parts=("CHEST",)),
        mark(volumes=True),
        mark(exclude_burned_in=True),
        mark(masks=tmp_path / "images"),
    ]
    assert len({mark(), *different}) == 7


def test_a_correction_of_the_code_that_makes_findings_reads_every_file_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = site(tmp_path).cohorts["chest"]
    monkeypatch.setattr("fedward.__file__", str(tmp_path / "__init__.py"))
    marks = []
    for content in ("x = 1\n", "x = 2\n"):
        (tmp_path / "dicom").mkdir(exist_ok=True)
        (tmp_path / "dicom" / "pixels.py").write_text(content)
        walk_module._code.cache_clear()
        marks.append(fingerprint(cohort, "k"))
    walk_module._code.cache_clear()
    assert marks[0] != marks[1]
