"""Check the site's key: pseudonyms disclose nothing, and draws are even."""

from __future__ import annotations

import hashlib
import hmac
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from fedward.errors import SettingsError
from fedward.indexing.site_key import SiteKey, load_key

KEY = SiteKey(bytes(range(32)))
IDENTIFIERS = st.text(min_size=1, max_size=40)


def test_a_pseudonym_is_hmac_sha256_of_purpose_and_identifier() -> None:
    expected = hmac.new(bytes(range(32)), b"fedward/1/patient\x00P1", hashlib.sha256).hexdigest()[:16]
    assert KEY.pseudonym("patient", "P1") == expected


@given(identifier=IDENTIFIERS)
def test_a_pseudonym_is_sixteen_hex_digits_and_differs_by_kind_and_key(identifier: str) -> None:
    made = KEY.pseudonym("patient", identifier)
    assert len(made) == 16
    assert set(made) <= set(string.hexdigits.lower())
    assert len(identifier) < 3 or identifier not in made
    assert made != KEY.pseudonym("study", identifier)
    assert made != SiteKey(b"x" * 32).pseudonym("patient", identifier)


def test_nothing_has_no_pseudonym() -> None:
    assert KEY.pseudonym("series", "") == ""


def test_draws_are_even_and_hang_on_the_key() -> None:
    patients = [f"P{n}" for n in range(4000)]
    low = [KEY.draw(patient) < 0.3 for patient in patients]
    assert binomtest(sum(low), len(patients), 0.3).pvalue > 1e-6
    other = [SiteKey(b"y" * 32).draw(patient) < 0.3 for patient in patients]
    both = sum(a and b for a, b in zip(low, other, strict=True))
    assert binomtest(both, len(patients), 0.09).pvalue > 1e-6


def test_a_pseudonym_says_nothing_about_the_draw() -> None:
    patients = [f"P{n}" for n in range(4000)]
    low = [KEY.draw(patient) < 0.5 for patient in patients if KEY.pseudonym("patient", patient) < "8"]
    assert binomtest(sum(low), len(low), 0.5).pvalue > 1e-6


def test_the_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "site.key"
    made = load_key(path)
    assert len(made.secret) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_key(path) == made
    assert load_key(tmp_path / "other.key") != made
    assert made.secret.hex() not in repr(made)
    assert str(made.secret) not in repr(made)
    assert made.fingerprint not in made.secret.hex()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620])
def test_a_key_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    load_key(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(SettingsError, match="others may read"):
        load_key(tmp_path / "key")


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "too short"), ("ab" * 31, "too short"), ("secret!", "not hexadecimal"), ("é", "not hex")],
)
def test_a_key_that_is_none_is_refused_and_not_shown(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "key"
    path.write_text(content, encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(SettingsError, match=message) as refusal:
        load_key(path)
    assert not content or content not in str(refusal.value).replace(str(path), "")


def test_a_key_where_none_can_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot be made"):
        load_key(tmp_path / "file" / "key")
    (tmp_path / "folder").mkdir(mode=0o700)
    with pytest.raises(SettingsError, match="cannot be read"):
        load_key(tmp_path / "folder")


def test_spellings_of_one_identifier_are_alike_and_tell_nothing_of_its_pseudonym() -> None:
    key = SiteKey(bytes(32))
    assert key.alike("patient", "0012") == key.alike("patient", "12.0") == key.alike("patient", " 12")
    others = {
        key.alike("patient", "13"),
        key.alike("image", "12"),
        SiteKey(bytes(31) + b"1").alike("patient", "12"),
        key.pseudonym("patient", "12"),
    }
    assert len(others) == 4 and key.alike("patient", "12") not in others
    assert key.alike("patient", "") == key.alike("patient", " ") == ""


def test_a_file_name_that_is_no_utf_8_has_a_pseudonym_of_its_own(tmp_path: Path) -> None:
    key = load_key(tmp_path / "site.key")
    names = [raw.decode("utf-8", "surrogateescape") for raw in (b"b\xff.nii", b"b\xfe.nii", b"b.nii")]
    assert len({key.pseudonym("image", name) for name in names}) == 3
