"""The image folder of what was fetched: whole files alone, of one key and one table, for one process at a time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedward.errors import CohortError
from fedward.indexing.pacs import store as stores
from fedward.indexing.pacs.archive import Series
from fedward.indexing.pacs.store import STATE, Store
from fedward.indexing.site_key import SiteKey

KEY = SiteKey(b"k" * 32)
SERIES = Series("1.2.3", "1.2.3.4", "CR", 2)


def test_a_series_is_whole_while_its_files_are_there(tmp_path: Path) -> None:
    store = Store(tmp_path, KEY)
    for instance in ("a", "b"):
        assert not store.has(SERIES, instance)
        store.write(SERIES, instance, b"x")
        assert store.has(SERIES, instance)
    assert not store.whole(SERIES)
    store.mark_whole(SERIES, 2)
    store.close()
    again = Store(tmp_path, KEY)
    assert again.whole(SERIES) and not again.whole(Series("1.2.3", "1.2.3.4", "CR", 3))
    assert not again.whole(Series("1.2.3", "1.2.3.4", "CR", None))
    assert again.others({again.pseudonyms(SERIES)}) == 0 and again.others(set()) == 2
    next(tmp_path.rglob("*.dcm")).unlink()
    assert not again.whole(SERIES)
    again.close()
    assert "1.2.3" not in (tmp_path / STATE).read_text() and not [p for p in tmp_path.rglob("*") if "1.2.3" in p.name]


def test_what_a_killed_run_left_behind_counts_for_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path, KEY)
    store.write(SERIES, "a", b"x")
    store.mark_whole(SERIES, 1)
    store.close()
    whole = next(tmp_path.rglob("*.dcm"))
    part = whole.with_name(".half.dcm.part")
    part.write_bytes(b"y")
    with (tmp_path / STATE).open("a") as state:
        state.write('{"series": "cut sho')
    again = Store(tmp_path, KEY)
    assert not part.exists() and whole.exists() and again.whole(Series("1.2.3", "1.2.3.4", "CR", 1))
    other = Series("1.2.3", "1.2.9", "CR", 1)
    again.write(other, "c", b"z")
    again.mark_whole(other, 1)
    again.close()
    last = Store(tmp_path, KEY)
    assert last.whole(other) and last.whole(Series("1.2.3", "1.2.3.4", "CR", 1))
    last.close()


def test_a_folder_has_one_key_one_table_one_process_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path, KEY)
    with pytest.raises(CohortError, match="another process fetches into this folder"):
        Store(tmp_path, KEY)
    store.close()
    with pytest.raises(CohortError, match="another site key"):
        Store(tmp_path, SiteKey(b"o" * 32))
    monkeypatch.setattr(stores, "EDITION", "another")
    with pytest.raises(CohortError, match="another site key or edition"):
        Store(tmp_path, KEY)
    monkeypatch.undo()
    Store(tmp_path, KEY).close()
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "export.dcm").write_bytes(b"raw")
    with pytest.raises(CohortError, match="image folder holds files from elsewhere"):
        Store(foreign, KEY)
    assert [path.name for path in foreign.iterdir()] == ["export.dcm"]
    assert json.loads((tmp_path / STATE).read_text().splitlines()[0])["table"] == stores.EDITION
