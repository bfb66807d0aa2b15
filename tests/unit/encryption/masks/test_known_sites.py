"""The roster: whom a hospital knows, by telephone or introduced, and the runs in which it takes part."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedward.encryption.masks.known_sites import (
    key_fingerprint,
    known_sites,
    read_fingerprint,
    read_roster,
    require_known,
    write_roster,
)
from fedward.errors import EncryptionError, RosterError
from tests.support.flare.signed import federation

A, B, C, D = ("a" * 32, "b" * 32, "c" * 32, "d" * 32)
KEYS = {"city": A, "coast": B, "north": C, "west": D}


def test_a_hospital_is_known_by_telephone_or_introduced_by_one_that_is() -> None:
    assert known_sites({}, KEYS, {}, site="city") == frozenset()
    assert known_sites({"coast": B}, KEYS, {}, site="city") == {"coast"}
    introductions = {"coast": {"north": C, "city": A}, "north": {"west": D}}
    assert known_sites({"coast": B}, KEYS, introductions, site="city") == {"coast", "north"}, "one step, not two"
    assert known_sites({"west": D}, KEYS, introductions, site="city") == {"west"}, "coast is a stranger here"
    assert known_sites({"coast": B, "zurich": A}, KEYS, introductions, site="city") == {"coast", "north"}


def test_an_introduction_of_another_key_introduces_nobody() -> None:
    assert known_sites({"coast": B}, KEYS, {"coast": {"north": D}}, site="city") == {"coast"}


def test_a_hospital_on_the_roster_with_another_key_ends_it() -> None:
    with pytest.raises(EncryptionError, match="another key than the one on this hospital's roster: 'coast'"):
        known_sites({"coast": A}, KEYS, {}, site="city")


@pytest.mark.parametrize("fewest", [0, 1, 2, 3])
def test_too_few_known_hospitals_are_refused(fewest: int) -> None:
    known = frozenset({"coast", "north"})
    if fewest <= 2:
        require_known(known, KEYS, site="city", fewest=fewest, colluding=1)
    else:
        with pytest.raises(RosterError, match="fewer than its min_known, 3: 2"):
            require_known(known, KEYS, site="city", fewest=fewest, colluding=1)
    with pytest.raises(RosterError, match="fewer than its min_known, 2: 1"):
        require_known(known, ["city", "coast", "west"], site="city", fewest=2, colluding=1)


def test_strangers_count_as_siding_with_the_server() -> None:
    """Three real hospitals, and more invented ones than the job bears."""
    known, everybody = frozenset({"coast", "north"}), [*KEYS, *(f"invented-{n}" for n in range(5))]
    with pytest.raises(RosterError, match="not known here than may side with the server, 5: 6"):
        require_known(known, everybody, site="city", fewest=2, colluding=5)
    require_known(known, everybody, site="city", fewest=2, colluding=6)
    require_known(frozenset(), everybody, site="city", fewest=0, colluding=1)


def test_a_roster_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "state" / "roster.json"
    assert read_roster(path) == {}
    write_roster(path, KEYS)
    assert read_roster(path) == KEYS and path.stat().st_mode & 0o777 == 0o600
    for content in (b"", b"{}", b"[]", b'{"magic": "fedward roster", "sites": {"city": "A"}}', b"\xff"):
        path.write_bytes(content)
        with pytest.raises(EncryptionError, match="is not a roster, or is damaged"):
            read_roster(path)
    with pytest.raises(EncryptionError, match="at most 256"):
        write_roster(path, {f"site-{n}": A for n in range(257)})


def test_a_fingerprint_is_of_the_key_and_typed_in_groups_or_not() -> None:
    one, other = federation().issue("north"), federation().issue("north")
    assert one != other and key_fingerprint(one) == key_fingerprint(other), "a renewed certificate stays known"
    digits = key_fingerprint(one)
    groups = " ".join(digits[at : at + 4].upper() for at in range(0, 32, 4))
    assert read_fingerprint(groups) == read_fingerprint(groups.replace(" ", "-")) == digits
    for wrong in ("", digits[:-1], digits + "0", "g" * 32, "٣" * 32):
        with pytest.raises(EncryptionError, match="is not a fingerprint"):
            read_fingerprint(wrong)
