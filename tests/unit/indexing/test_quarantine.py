"""The list of what was set aside, and its tally."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedward.errors import CohortError
from fedward.indexing.quarantine import Quarantined, read_quarantine, tally, write_quarantine
from fedward.indexing.reasons import REASONS

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), min_size=1, max_size=12)
ENTRIES = st.lists(st.builds(Quarantined, NAMES, st.sampled_from(sorted(REASONS)), NAMES), max_size=6)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(entries=ENTRIES)
def test_what_is_written_comes_back_sorted(
    tmp_path_factory: pytest.TempPathFactory, entries: list[Quarantined]
) -> None:
    folder = tmp_path_factory.mktemp("q")
    write_quarantine(entries, folder)
    assert read_quarantine(folder) == sorted(entries)


@given(entries=ENTRIES)
def test_a_tally_counts_every_file_once_most_frequent_first(entries: list[Quarantined]) -> None:
    table = tally(entries)
    counts = [count for _, count, _ in table]
    assert sum(counts) == len(entries)
    assert counts == sorted(counts, reverse=True)
    assert all(REASONS[reason] == explanation for reason, _, explanation in table)


def test_file_names_that_are_no_text_stay_apart(tmp_path: Path) -> None:
    names = [b"b\xe9\xe8.dcm", b"b\xff\xfe.dcm", "bé.dcm".encode()]
    aside = [Quarantined(name.decode("utf-8", "surrogateescape"), "unreadable", "of b\udcff") for name in names]
    write_quarantine(aside, tmp_path)
    found = read_quarantine(tmp_path)
    assert {one.file for one in found} == {r"b\xe9\xe8.dcm", r"b\xff\xfe.dcm", "bé.dcm"}
    assert {one.detail for one in found} == {r"of b\xff"}


def test_no_list(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="no quarantine list here; run `fedward site index SITE_TOML`"):
        read_quarantine(tmp_path)
