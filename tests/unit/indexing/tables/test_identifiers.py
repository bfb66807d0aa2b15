"""Normal forms of identifiers: equal for what a spreadsheet makes of one, different for others."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.indexing.tables.identifiers import normal_form, paddings


@pytest.mark.parametrize(
    ("form", "spellings"),
    [
        (
            "12",
            [
                "0012",
                "12.0",
                "12.",
                "12,0",
                "1.2E+01",
                "1.2e1",
                "120e-1",
                "+12",
                " 12",
                "1 2",
                "'0012",
                '="0012"',
                "“12"[1:],
            ],
        ),
        ("1000", ["1.0E+03", "1E3", "01000", "1e+03", "1000.00"]),
        ("0", ["0000", "0.0", "0E0"]),
        ("12.5", ["12.50", "012.5", "1.25E1", "12,5"]),
        ("p1", ["P1", "p 1", "P\N{ZERO WIDTH SPACE}1", "\N{BYTE ORDER MARK}p1", "'P1"]),
        ("zoë", ["ZOË", "Zoe\N{COMBINING DIAERESIS}"]),
        ("1.2.840.113619", ["1.2.840.113619", " 1.2.840.113619\n"]),
        ("", ["", " ", "'", '=""']),
    ],
)
def test_spellings_of_one(form: str, spellings: list[str]) -> None:
    assert {normal_form(one) for one in (form, *spellings)} == {form}


def test_others_stay_apart() -> None:
    apart = ["12", "120", "1.2.0", "12a", "-12", "12-1", "121", "p12", "1e999", "9" * 70, "12.01", "0.12", "0.012"]
    assert len({normal_form(one) for one in apart}) == len(apart)


@given(st.integers(0, 10**20), st.integers(0, 6), st.integers(0, 4))
def test_a_number_padded_or_with_zeros_after_its_point_is_the_number(number: int, before: int, after: int) -> None:
    assert normal_form(f"{'0' * before}{number}{'.' + '0' * after if after else ''}") == str(number)
    assert normal_form(f"{Decimal(number):E}") == str(number)


@given(st.text(max_size=20))
def test_a_normal_form_is_its_own(identifier: str) -> None:
    form = normal_form(identifier)
    assert normal_form(f" {identifier}\t") == form
    assert not any(sign.isspace() for sign in form)


def test_paddings() -> None:
    assert list(paddings("12"))[:2] == ["012", "0012"] and len(list(paddings("12"))[-1]) == 16
    assert list(paddings("a1")) == list(paddings("1.5")) == list(paddings("")) == list(paddings("1" * 16)) == []
