"""Any table, whole or damaged: each line has one outcome, and no image gets a value that its line does not give."""

from __future__ import annotations

import csv
import io
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from fedward.errors import CohortError
from fedward.indexing.labels import Assigned, LabelTable, read_labels
from fedward.indexing.site_key import Kind, SiteKey

KEY = SiteKey(bytes(32))
TABLES = 5_000
PATIENTS = ("0012", "12", "0345", "77", "A-1", "a-1", "Zoë 3", "8")
ABSENT = ("345", "1000", "12.0", "1.2E+01", "0077", "'8", '="0012"', "NA", "", "nobody")
VALUES = ("0", "1", "yes", "no", "", "NA", "none", "-1", "5,3", "a;b", "x\ty", 'say "hi"', "two\nlines", "ö", "row, 1")
NO_VALUE = ("na", "-1")
ENCODINGS = ("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252")


def image(patient: str) -> dict[Kind, frozenset[str]]:
    names: dict[Kind, str] = {"patient": patient, "study": f"1.2.{patient}", "image": f"1.2.3.{patient}"}
    return {kind: frozenset({KEY.pseudonym(kind, name)}) for kind, name in names.items()}


IMAGES = [image(patient) for patient in PATIENTS]
SPELLINGS = {KEY.alike("patient", one): frozenset() for one in PATIENTS}
for _patient in PATIENTS:
    SPELLINGS[KEY.alike("patient", _patient)] |= {KEY.pseudonym("patient", _patient)}


def written(rng: random.Random) -> tuple[str, str, tuple[str, ...]]:
    """A table as a program may write it and a person may damage it: text, separator and headings."""
    separator = rng.choice(",;\t|")
    headings = [rng.choice(("PatientID", "patient_id", "Patient ID")), "tb", "note", "size", ""][: rng.randint(2, 5)]
    if rng.random() < 0.3:
        headings.append("Study Instance UID")
    rng.shuffle(headings)
    text = io.StringIO()
    quoting = rng.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC))
    out = csv.writer(text, delimiter=separator, quoting=quoting, lineterminator=rng.choice(("\n", "\r\n", "\r")))
    out.writerow(headings)
    start = len(text.getvalue())
    ids = list(PATIENTS[: rng.randint(1, 8)]) + rng.sample(ABSENT, rng.randint(0, 3))
    ids += rng.sample(ids, rng.choice((0, 0, 0, 1)))
    for patient in rng.sample(ids, len(ids)):
        study = f"1.2.{rng.choice((patient, patient, patient, '12', '9'))}"
        cells = {heading: rng.choice(VALUES) for heading in headings} | {"Study Instance UID": study}
        out.writerow([patient if heading.lower().startswith("patient") else cells[heading] for heading in headings])
    content = text.getvalue()
    for _ in range(rng.choice((0, 0, 1, 1, 2, 4))):
        place = rng.randrange(start, len(content) + 1)
        inserted = rng.choice(('"', '"', separator, "\n", f"\n{separator}\n", "", " ", "'", ";", ",", "\r\n\r\n"))
        content = content[:place] + inserted + content[place + rng.choice((0, 0, 1)) :]
    named = f"sep={separator}\n" if rng.random() < 0.1 else ""
    return named + content, separator, tuple(headings)


def readings(
    lines: list[str], separator: str, headings: tuple[str, ...], firsts: Iterable[int]
) -> Iterator[dict[str, str]]:
    """Every intact line, and every few lines that are one record, as Python reads them alone."""
    for first in firsts:
        for last in range(first, min(first + 9, len(lines))):
            try:
                records = list(csv.reader(lines[first : last + 1], delimiter=separator, strict=True))
            except csv.Error:
                continue
            if len(records) == 1 and len(records[0]) == len(headings):
                yield dict(zip(headings, (cell.strip() for cell in records[0]), strict=True))


def check_lines(table: LabelTable, done: Assigned, lines: list[str], separator: str, skipped: int) -> None:
    starts = Counter([row.line for row in table.rows] + [one.line for one in table.refused] + list(table.blank))
    assert max(starts.values(), default=1) == 1, "a line has two outcomes"
    assert min(starts, default=skipped + 1) == skipped + 1
    numbers = [*sorted(starts), len(lines) + 1]
    for number, following in pairwise(numbers):
        if following > number + 1:
            unclear = {one.line for one in table.refused if one.reason in ("cell-count", "quote-not-closed")}
            assert number not in unclear, "a line after a refused one has no outcome"
            assert len(list(csv.reader(lines[number - 1 : following - 1], delimiter=separator, strict=True))) == 1
    account = done.lines
    refused = sum(one.count for one in account.refused)
    assert refused == len(done.refused) == len({one.line for one in done.refused})
    assert account.matched + account.unmatched + account.blank + refused == account.lines == len(starts)
    assert account.respelled <= account.unmatched
    assert {one.line for one in table.refused} <= {one.line for one in done.refused} <= set(starts)


def check_values(done: Assigned, lines: list[str], separator: str, headings: tuple[str, ...], skipped: int) -> None:
    refused = {one.line - 1 for one in done.refused}
    firsts = [number for number in range(skipped, len(lines)) if number not in refused]
    found = list(readings(lines, separator, headings, firsts))
    for patient, labels in zip(PATIENTS, done.labels, strict=True):
        for column, value in labels.items():
            assert value.lower() not in NO_VALUE and value
            assert any(
                reading[column] == value and {patient, f"1.2.{patient}"} & set(reading.values()) for reading in found
            ), f"{patient} got {column} = {value!r}, which no line gives"


@pytest.mark.parametrize("tenth", range(10))
def test_every_line_has_one_outcome_and_no_image_a_value_of_another(tmp_path: Path, tenth: int) -> None:
    path, outcomes = tmp_path / "labels.csv", Counter[str]()
    for seed in range(tenth * TABLES // 10, (tenth + 1) * TABLES // 10):
        rng = random.Random(seed)
        text, separator, headings = written(rng)
        encoding = rng.choice(ENCODINGS)
        path.write_bytes(text.encode(encoding))
        try:
            table = read_labels(path, KEY)
            done = table.assign(IMAGES, SPELLINGS)
        except CohortError as refusal:
            outcomes[refusal.what.split(":")[0]] += 1
            message = str(refusal).replace(str(path), "")
            assert not any(one in message for one in ("0345", "Zoë", "A-1", "nobody", "say"))
            continue
        assert encoding != "utf-16-le", "UTF-16 without its mark"
        lines = list(io.StringIO(text, newline=""))
        skipped = 1 + lines[0].startswith("sep=")
        check_lines(table, done, lines, separator, skipped)
        check_values(done, lines, separator, headings, skipped)
        outcomes["read"] += 1
        outcomes.update(f"refused {one.reason}" for one in done.lines.refused)
        outcomes["labelled"] += any(done.labels)
    assert outcomes["read"] > TABLES // 40 and outcomes["labelled"] > TABLES // 50
    assert all(outcomes[f"refused {one}"] > 5 for one in ("cell-count", "quote-not-closed", "no-id", "ambiguous-id"))
    assert outcomes["refused contradicting-ids"] > 5 and outcomes["refused conflicting-lines"] > 5
    assert outcomes["label table is not UTF-8"] > 5 and outcomes["no labels match"]
