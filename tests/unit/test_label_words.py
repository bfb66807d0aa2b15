"""Words of a label table that are no value, in the index and in a job's classes."""

from __future__ import annotations

from typing import Any

import pytest

from fedward.errors import SettingsError
from fedward.label_words import is_missing, missing_words
from fedward.settings import JobSpec, parse, plain

MISSING = [
    *("NA", "N/A", "n/a", "#N/A", "#NA", "n.a.", "N.A.", "<NA>", "NaN", "nan", "-nan", "NaT", "\\N", "(blank)"),
    *("NULL", "null", "<null>", "?", "??", "-", "--", "---", "–", "—", ".", "..", "…", "-1", "-1.0", "-1,0", "−1"),
    *("unknown", "Unknown", "UNK", "missing", "Missing", "not available", "Not  Available", "not applicable"),
    *("not known", "unavailable", "undefined", "#REF!", "#DIV/0!", "#VALUE!", "#NAME?", "#NULL!", "#NUM!", "no data"),
]
VALUES = [
    *("0", "1", "1.0", "yes", "no", "true", "false", "TRUE", "left", "negative", "nasal", "nodule", "n", "a.b"),
    *("none of these", "unknown origin", "-2", "-10", "-1.5", "0.1", "#1"),
]


@pytest.mark.parametrize("word", MISSING)
def test_a_word_for_no_value(word: str) -> None:
    assert is_missing(word) and is_missing(f" {word}\t") and is_missing(word.upper()) and is_missing(word.lower())
    assert missing_words([word, "1"]) == {word}


@pytest.mark.parametrize("word", [*VALUES, "none", "nil"])
def test_a_word_that_is_a_value(word: str) -> None:
    assert not is_missing(word)
    assert missing_words([word, "nodule", "NA"]) == {"NA"}


@pytest.mark.parametrize(
    ("others", "missing"),
    [
        (["0", "1"], True),
        (["Yes", "no", "NA"], True),
        (["1.0", "2,5", "-3", "1e3"], True),
        (["0", "1", "2", "3"], True),
        (["left", "right"], False),
        (["0", "nodule"], False),
        ([], False),
        (["NA", "?"], False),
    ],
)
@pytest.mark.parametrize("word", ["none", "None", "NIL"])
def test_none_is_a_class_unless_all_others_are_numbers_or_yes_and_no(
    word: str, others: list[str], missing: bool
) -> None:
    assert (word in missing_words([word, *others])) == missing


@pytest.mark.parametrize(
    ("column", "missing"),
    [
        (["1.0", "-1.0", "-2.5"], []),
        (["-1", "-2,5", "0", "NA"], ["NA"]),
        (["−1", "−2.5"], []),
        (["-1", "-1.0", "1", "0"], ["-1", "-1.0"]),
        (["-1", "-2", "left"], ["-1"]),
        (["-1", "-"], ["-1", "-"]),
        (["-1", "yes", "no"], ["-1"]),
        (["-", "+"], []),
        (["-", "--", "+", "++", "?", "NA"], ["?", "NA"]),
        (["–", "+", "-1"], ["-1"]),
        (["-", "0", "1"], ["-"]),
        (["-", "+1", "-2"], ["-"]),
        (["-", "A+"], ["-"]),
    ],
)
def test_minus_one_among_negative_numbers_and_minus_beside_plus_are_values(
    column: list[str], missing: list[str]
) -> None:
    assert missing_words(column) == frozenset(missing)


def multiclass(job: JobSpec, *classes: str) -> JobSpec:
    content: dict[str, Any] = plain(job)
    content["data"] |= {"target": "multiclass", "classes": list(classes)}
    return parse(JobSpec, content, where="job.toml")


@pytest.mark.parametrize("word", [*MISSING[:6], "unknown", "-1", "?"])
def test_a_job_has_no_class_that_a_table_takes_for_no_value(tiny_job: JobSpec, word: str) -> None:
    with pytest.raises(SettingsError, match=r"job\.toml: data: .*means no value in a label table") as refusal:
        multiclass(tiny_job, "left", "right", word)
    assert word in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_job_may_have_a_class_none_beside_words_and_not_beside_numbers(tiny_job: JobSpec) -> None:
    assert multiclass(tiny_job, "none", "nodule", "effusion").data.classes[0] == "none"
    with pytest.raises(SettingsError, match="classes has none, which means no value"):
        multiclass(tiny_job, "none", "1", "2")
