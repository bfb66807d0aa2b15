"""Define ``fedward site index``: turn DICOM or NIfTI folders, or a PACS, into a cohort."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn
from rich.table import Table

from fedward.commands.audit_notes import note, site_log
from fedward.commands.output_format import FORMAT, Format
from fedward.commands.site.options import SITE_TOML
from fedward.errors import CohortError, SettingsError
from fedward.screen import column, progress, screen
from fedward.settings import SitePolicy, read_site

if TYPE_CHECKING:
    from fedward.indexing.index import Progress as Report
    from fedward.indexing.pacs.fetch import Fetched
    from fedward.indexing.quarantine import Table as Reasons
    from fedward.indexing.summary import Summary
    from fedward.indexing.tables.account import LabelLines

_FEW_VALUES, _APART = 8, 2


def index(
    site_toml: Path = SITE_TOML,
    cohort: str | None = typer.Option(None, help="Index this cohort alone; without it, all of them."),
    workers: int | None = typer.Option(None, min=1, help="Processes that read; without it, one a CPU."),
    new_split: bool = typer.Option(
        False,
        "--new-split",
        help="Divide patients anew, where too few came to one side; models trained before saw some.",
    ),
    pacs: bool = typer.Option(False, "--pacs", help="First fetch what the cohort's archive has and is not here yet."),
    format: Format = FORMAT,
) -> None:
    """Read the cohort's images; write manifest and quarantine list. Only changed files are read again.

    A cohort that is refused keeps no manifest; the others are indexed all the same, and the command fails at its end.

    With --pacs, images come from the archive that the cohort names and are de-identified before they are written; a run
    that broke off is taken up where it stopped.
    """
    from fedward.indexing.index import index_cohort  # here, so that commands without images load less
    from fedward.indexing.quarantine import QuarantineError
    from fedward.indexing.summary import summarise
    from fedward.indexing.tables.account import read_account

    policy = read_site(site_toml)
    if not policy.cohorts:
        raise SettingsError("names no cohort", where=site_toml, remedy="add a [cohorts.<name>] table")
    summaries = []
    answers: dict[str, Fetched] = {}
    refusals: list[CohortError] = []
    for name in _chosen(policy, cohort, pacs=pacs):
        try:
            if pacs:
                answers[name] = _fetch(policy, name)
            with _bar(f"indexing {name}") as report:
                manifest = index_cohort(policy, name, progress=report, workers=workers, new_split=new_split)
        except CohortError as refusal:  # the other cohorts are indexed all the same
            if isinstance(refusal, QuarantineError):
                _show_refused(refusal.table, read_account(policy.cohorts[name].index), name)
            refusals.append(refusal)
            note(site_log(site_toml), "cohort-refused", cohort=name, reason=refusal.what)
        else:
            summaries.append(summarise(manifest, policy))
            _note_cohort(site_toml, summaries[-1])
    if format is Format.json:
        typer.echo(json.dumps([_content(summary, answers.get(summary.cohort)) for summary in summaries], indent=2))
    else:
        for summary in summaries:
            if summary.cohort in answers:
                _show_archive(summary, answers[summary.cohort])
            _show(summary, masked=policy.cohorts[summary.cohort].masks is not None)
    for earlier in refusals[:-1]:
        typer.echo(f"fedward: {earlier}", err=True)
    if refusals:
        raise refusals[-1]


def _note_cohort(site_toml: Path, made: Summary) -> None:
    """Record in the hospital's audit log that a cohort was made, in counts."""
    quarantined = sum(count for _, count, _ in made.quarantined)
    counts = {"images": made.images, "patients": made.patients, "quarantined": quarantined}
    counts |= {"split": made.split_version}
    note(site_log(site_toml), "cohort-indexed", cohort=made.cohort, **counts)


def _chosen(policy: SitePolicy, cohort: str | None, *, pacs: bool) -> list[str]:
    if cohort is not None:
        return [cohort]
    chosen = [name for name in sorted(policy.cohorts) if policy.cohorts[name].pacs is not None or not pacs]
    if not chosen:
        remedy = "add [cohorts.<name>.pacs]"
        raise SettingsError("no cohort names an archive", where=policy.site, remedy=remedy)
    return chosen


def _fetch(policy: SitePolicy, cohort: str) -> Fetched:
    from fedward.indexing.pacs.fetch import fetch_cohort

    with _bar(f"fetching {cohort}, series") as report:
        return fetch_cohort(policy, cohort, progress=report)


def _content(summary: Summary, fetched: Fetched | None) -> dict[str, Any]:
    return asdict(summary) if fetched is None else {**asdict(summary), "archive": asdict(fetched)}


def _show_archive(summary: Summary, fetched: Fetched) -> None:
    table = Table(title=f"{summary.site}, archive of {summary.cohort}", show_header=False, title_justify="left")
    table.add_row("found", f"{fetched.found} instances in {fetched.series} series of {fetched.studies} studies")
    table.add_row("fetched", str(fetched.fetched))
    table.add_row("already here", str(fetched.already))
    for reason, count in fetched.refused.items():
        table.add_row(f"not here: {reason}", str(count))
    if fetched.no_longer_found:
        table.add_row("here, and no longer found there", str(fetched.no_longer_found))
    screen().print(table)


@contextmanager
def _bar(what: str) -> Iterator[Report]:
    columns = (column("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with progress(*columns) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _show(summary: Summary, *, masked: bool) -> None:
    from fedward.indexing.reasons import FLAGS

    out = screen()
    table = Table(title=f"{summary.site}, cohort {summary.cohort}", show_header=False, title_justify="left")
    table.add_row("images", str(summary.images))
    sides = f"{summary.train_patients} train, {summary.validation_patients} validation"
    empty = not (summary.train_patients and summary.validation_patients)
    table.add_row("patients", f"{summary.patients} ({sides}){'; no job can run: one side is empty' if empty else ''}")
    if (words := _split(summary)) is not None:
        table.add_row("split", words)
    table.add_row("masks", f"{summary.masks} of {summary.images} images{_unused_masks(summary) if masked else ''}")
    for structure, count in sorted(summary.structures.items(), key=lambda one: -one[1])[:_FEW_VALUES]:
        table.add_row(f"  mark {structure!r}", f"{count} of {summary.images} images")
    if len(summary.structures) > _FEW_VALUES:
        table.add_row("  mark more", f"{len(summary.structures) - _FEW_VALUES} other structures")
    if summary.masks and not summary.structures:
        table.add_row("  mark", "nothing: every mask is empty")
    missing = {} if summary.label_lines is None else summary.label_lines.missing
    for label in sorted({*summary.labels, *missing}):
        shown = _values(summary.labels.get(label, {}), missing.get(label, {}), summary.images)
        table.add_row(f"label {label}", shown)
    if summary.label_lines is not None:
        matched = (
            "1 names an image" if summary.label_lines.matched == 1 else f"{summary.label_lines.matched} name an image"
        )
        table.add_row("lines of the label table", f"{summary.label_lines.lines}, of which {matched}")
    for flag, count in summary.flags.items():
        table.add_row(f"flagged {flag}", f"{count}: {FLAGS.get(flag, '')}")
    table.add_row("index", summary.index)
    out.print(table)
    if summary.label_lines is not None and _doubtful(summary.label_lines):
        out.print(_account(summary.label_lines, summary.cohort))
    if summary.quarantined:
        out.print(_reasons(summary.quarantined, summary.cohort))


def _split(summary: Summary) -> str | None:
    """Return what a reader must know of the split: who changed sides, or a side of another size than asked."""
    told = []
    if summary.moved:
        told.append(
            f"version {summary.split_version}: {summary.moved} patients changed sides; models trained before saw some"
        )
    apart = summary.validation_patients - summary.asked_validation
    if abs(apart) > _APART:
        told.append(f"{summary.asked_validation} were asked for in validation: --new-split divides the patients anew")
    return "; ".join(told) or None


def _unused_masks(summary: Summary) -> str:
    from fedward.indexing.reasons import OF_MASKS

    aside = sum(count for reason, count, _ in summary.quarantined if reason in OF_MASKS)
    if aside:
        return f"; {aside} mask file{'' if aside == 1 else 's'} set aside"
    return "" if summary.masks else "; no mask file was found"


def _show_refused(reasons: Reasons, lines: LabelLines | None, cohort: str) -> None:
    err = screen(stderr=True)
    err.print(_reasons(reasons, cohort))
    if lines is not None and (_doubtful(lines) or lines.missing):
        table = _account(lines, cohort)
        for label, words in lines.missing.items():
            table.add_row("", f"label {label}", _no_value(words))
        err.print(table)


def _values(values: dict[str, int], missing: dict[str, int], images: int) -> str:
    shown = f"{sum(values.values())} of {images} images"
    if len(values) > _FEW_VALUES:
        shown += f" ({len(values)} different values)"
    elif values:
        shown += f" ({', '.join(f'{value}: {count}' for value, count in values.items())})"
    return f"{shown}; {_no_value(missing)}" if missing else shown


def _no_value(words: dict[str, int]) -> str:
    shown = ", ".join(f"{count} {word}" for word, count in words.items())
    return f"{shown} {'counts' if sum(words.values()) == 1 else 'count'} as no value"


def _doubtful(lines: LabelLines) -> bool:
    return bool(
        lines.matched + lines.blank < lines.lines
        or lines.unnamed_columns
        or lines.identifying_columns
        or lines.fallback
    )


def _account(lines: LabelLines, cohort: str) -> Table:
    """Return the table of the label table's lines, each of them once, and of its ignored columns."""
    from fedward.indexing.tables.account import REFUSED, RESPELLED, shown_lines

    table = Table("lines", "outcome", "which means that a line", title_justify="left", caption_justify="left")
    table.title = f"label table of cohort {cohort}: {lines.lines} lines"
    table.add_row(str(lines.matched), "matched", "names an image of the cohort")
    if lines.fallback:
        table.add_row("", lines.fallback, "labels every image of what it names there")
    if lines.spread:
        meaning = (
            "may give a label to the wrong image: patients, studies or series that have several lines with the same "
            "labels, or of which one line labels several images or studies"
        )
        table.add_row("", f"warning: labels spread: {lines.spread}", meaning)
    if lines.unmatched:
        meaning = "names no image of the index (an image in quarantine is not in it)"
        table.add_row(str(lines.unmatched), "unmatched", meaning)
    if lines.set_aside:
        table.add_row(
            str(lines.set_aside), "  in quarantine", "is one of the unmatched, and names what is in quarantine"
        )
    if lines.respelled:
        meaning = f"is one of the unmatched; its id is spelled otherwise in the files: {RESPELLED}"
        table.add_row(str(lines.respelled), "  respelled", meaning)
    for one in lines.refused:
        table.add_row(str(one.count), f"refused: {one.reason}, {shown_lines(one)}", one.meaning)
    if lines.blank:
        table.add_row(str(lines.blank), "blank", "is empty")
    if lines.unnamed_columns:
        table.add_row("", f"ignored columns: {lines.unnamed_columns}", "holds values there, under an empty heading")
    if count := len(lines.identifying_columns):
        shown = f"columns not kept, because they identify people: {count}"
        table.add_row("", shown, f"holds values there, which were not read: {', '.join(lines.identifying_columns)}")
    if lines.refused:
        table.caption = f"{REFUSED} in the index folder lists every refused line"
    return table


def _reasons(reasons: Reasons, cohort: str) -> Table:
    table = Table("files", "reason", "which means that the file", title_justify="left")
    table.title = f"set aside from cohort {cohort}: {sum(count for _, count, _ in reasons)} files"
    for reason, count, explanation in reasons:
        table.add_row(str(count), reason, explanation)
    return table
