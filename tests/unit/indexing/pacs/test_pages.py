"""Reading a list by pages to its end, from archives that page or do not, warn or do not, and change their order."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fedward.indexing.pacs.listing import pages
from fedward.indexing.pacs.listing.pages import Page, read
from fedward.indexing.pacs.listing.warning import announced, remark

WARNS = ("truly", "with-number", "always", "on-answers", "never")


def archive(
    number: int, cap: int, *, heeds: bool = True, warns: str = "truly", shuffles: random.Random | None = None
) -> Callable[[int], Page[int]]:
    """An archive of this many answers, ``cap`` a page."""

    def ask(offset: int) -> Page[int]:
        answers = list(range(number))
        if shuffles is not None:
            shuffles.shuffle(answers)
        start = offset if heeds else 0
        page = answers[start : start + cap]
        more = max(0, number - start - cap)
        warned = {"truly": more > 0, "with-number": more > 0, "always": True, "on-answers": bool(page)}.get(
            warns, False
        )
        remaining = more if warns == "with-number" else None
        return Page([(str(one), one) for one in page], remaining if warned else 0)

    return ask


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 12), st.integers(1, 8), st.booleans(), st.sampled_from(WARNS), st.none() | st.integers(0, 999))
@example(6, 3, True, "never", 0)
@example(4, 2, True, "never", 1)
def test_a_list_that_counts_as_whole_is_whole(number: int, cap: int, heeds: bool, warns: str, seed: int | None) -> None:
    shuffles = None if seed is None else random.Random(seed)
    listed = read(archive(number, cap, heeds=heeds, warns=warns, shuffles=shuffles), limit=500)
    silently_cut = not heeds and cap < number and warns == "never"  # nothing in such an archive's answers tells
    assert silently_cut or listed.lacking != 0 or sorted(listed.answers) == list(range(number))
    assert len(listed.answers) == len(set(listed.answers))
    honest = (heeds or cap >= number) and warns in ("truly", "with-number", "never") and shuffles is None
    assert not honest or listed.lacking == 0
    pages_on = heeds and number > cap and shuffles is None
    assert not pages_on or warns != "on-answers" or listed.lacking == 0, "the last, empty page does not warn"


def test_the_number_that_is_missing_is_known_if_the_archive_says_it() -> None:
    listed = read(archive(7, 3, heeds=False, warns="with-number"), limit=500)
    assert (listed.answers, listed.lacking) == ([0, 1, 2], 4)
    assert read(archive(7, 3, heeds=False), limit=500).lacking is None


@pytest.mark.parametrize("cap", [2, 3, 7])
def test_an_answer_that_comes_twice_is_one_and_hides_none(cap: int) -> None:
    def ask(offset: int) -> Page[str]:
        return Page([(one, one) for one in "AAAAAAB"[offset : offset + cap]])

    assert (read(ask, limit=500).answers, read(ask, limit=500).lacking) == (["A", "B"], 0)


@pytest.mark.parametrize("cap", [1, 2, 3])
@pytest.mark.parametrize("turned", [lambda offset, asked: offset > 0, lambda offset, asked: asked % 2 == 0])
def test_an_order_that_changes_the_same_way_each_time_is_a_list_cut_short(
    cap: int, turned: Callable[[int, int], bool]
) -> None:
    """All pages but the first, or each second question, are of the list turned round: some answers come in no page."""
    asked = 0

    def ask(offset: int) -> Page[int]:
        nonlocal asked
        asked += 1
        order = range(7)[::-1] if turned(offset, asked) else range(7)
        return Page([(str(one), one) for one in order[offset : offset + cap]])

    listed = read(ask, limit=500)
    assert len(listed.answers) == 7 or listed.lacking is None


@pytest.mark.parametrize(("number", "heeds", "lacking"), [(5, False, None), (4, False, 0), (5, True, 0), (6, True, 0)])
def test_as_many_as_the_limit_and_no_pages_is_a_list_cut_short(number: int, heeds: bool, lacking: int | None) -> None:
    assert read(archive(number, 5, heeds=heeds, warns="never"), limit=5).lacking == lacking


@pytest.mark.parametrize("number", [0, 1, 5, 6])
@pytest.mark.parametrize("heeds", [True, False])
@pytest.mark.parametrize("text", ["API version v1 is in preview", "certificate expires soon", "", "Die Liste"])
def test_a_remark_on_every_answer_refuses_no_list_that_pages_to_its_end(number: int, heeds: bool, text: str) -> None:
    warning = f'299 gw "{text}"'

    def ask(offset: int) -> Page[int]:
        page = list(range(number))[offset if heeds else 0 :][:3]
        return Page([(str(one), one) for one in page], announced(200, warning), remark(200, warning))

    listed = read(ask, limit=500)
    assert listed.lacking == (0 if heeds or not number else None)
    assert listed.lacking is None or listed.answers == list(range(number))


@pytest.mark.parametrize("first", ["There are 2 additional results", "Die Liste ist lang", "results truncated"])
def test_a_remark_at_the_end_does_not_unsay_another_warning(first: str) -> None:
    """The archive warns on its only page of answers that it cuts, and then pages no further."""

    def ask(offset: int) -> Page[int]:
        warning = f'299 gw "{first if offset == 0 else "in preview"}"'
        page = list(range(3))[offset:]
        return Page([(str(one), one) for one in page], announced(200, warning), remark(200, warning))

    assert read(ask, limit=500).lacking != 0


def test_pages_that_never_end_are_a_list_cut_short() -> None:
    asked: list[int] = []

    def ask(offset: int) -> Page[int]:
        asked.append(offset)
        return Page([(str(offset + one), one) for one in range(3)])

    assert read(ask, limit=500).lacking is None and len(asked) == pages.MOST_PAGES


def test_answers_without_a_uid_are_each_counted() -> None:
    def ask(offset: int) -> Page[str]:
        return Page([("", "x"), ("1", "y"), ("", "x"), ("", "z")][offset : offset + 4])

    assert sorted(read(ask, limit=500).answers) == ["x", "x", "y", "z"]


def test_an_archive_past_its_end_repeats_its_last_page() -> None:
    def ask(offset: int) -> Page[int]:
        start = min(offset, 4)
        return Page([(str(one), one) for one in range(5)[start : start + 2]])

    assert (read(ask, limit=500).answers, read(ask, limit=500).lacking) == ([0, 1, 2, 3, 4], 0)


def test_an_order_that_never_settles_is_a_list_cut_short() -> None:
    asked: list[int] = []

    def ask(offset: int) -> Page[int]:
        asked.append(offset)
        return Page([] if offset >= 4 else [(str(one), one) for one in random.Random(len(asked)).sample(range(9), 2)])

    listed = read(ask, limit=500)
    assert listed.lacking is None and len(asked) <= 4 * pages.PASSES


@pytest.mark.parametrize(
    ("status", "warning", "remaining"),
    [
        (200, "", 0),
        (200, "299 archive: There are additional results that can be requested", None),
        (200, "299 archive: There are 4 additional results that can be requested", 4),
        (200, "299 archive: There are 0 additional results that can be requested", 0),
        (200, '299 - "The number of results exceeded the maximum supported by the server."', None),
        (200, '110 a "Response is stale", 299 b "There are 12 more results"', 12),
        (200, '299 a "one, two", 299 b "There are 3 additional results, and no more"', None),
        (200, "299 x something else", None),
        (206, "", None),
        (206, "299 archive: There are 4 additional results that can be requested", 4),
        (200, '110 a "Response is stale"', 0),
        (200, '214 a "Transformation Applied"', 0),
        (200, '199 a "additional results"', None),
        (200, '199 a "There are 4 additional results"', 4),
        (200, '199 a "miscellaneous"', 0),
        (200, "299", None),
        (200, "299 host", None),
        (200, "214 a b, 299", None),
        (200, "199", 0),
        (200, '199 a "x", 299 b "Results truncated"', None),
        (200, '299 a "Deprecated API. Results were limited to 3"', None),
        (200, '299 a "only literal matching; more results available"', None),
        (200, '299 a "fuzzy: partial answer"', None),
        (200, '299 a "There are 1,500 additional results"', 1500),
        (200, '299 a "There are 1 500 000 additional results"', 1_500_000),
        (200, '299 a "one, 299 two"', None),
        (200, '299 a "say \\"more\\", 110", 214 b "deprecated"', None),
        (200, '299 a "The fuzzymatching parameter is not supported. Only literal matching has been performed."', 0),
        (200, '299 - "v1 is deprecated, see the manual"', 0),
        (200, '299 a "fuzzymatching is not supported", 299 b "There are 2 additional results"', 2),
        (200, "no warning at all", 0),
    ],
)
def test_what_a_response_announces(status: int, warning: str, remaining: int | None) -> None:
    assert announced(status, warning) == remaining
