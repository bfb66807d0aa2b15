"""Write and read ``report.json`` and ``report.html``; the first is the source of the second."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from fedward.errors import FedwardError
from fedward.files import write_atomic
from fedward.reporting.data.report import Report
from fedward.reporting.examples import Example
from fedward.reporting.page import render

SCHEMA = 3
"""Version of ``report.json``; ``report.schema.json`` beside this module defines its content."""
JSON_FILE, HTML_FILE = "report.json", "report.html"


def write_report(folder: Path, report: Report) -> Path:
    """Write ``report.json`` and ``report.html`` into ``folder``, each whole or not at all.

    Returns:
        The path of ``report.html``.

    Raises:
        FedwardError: a number that is not finite, or a folder that cannot be written to.
    """
    try:
        content = json.dumps({"schema": SCHEMA, **asdict(report)}, indent=2, allow_nan=False) + "\n"
    except ValueError:
        raise FedwardError("report holds a number that is not finite", where=folder, remedy="give None") from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / JSON_FILE, content)
        write_atomic(folder / HTML_FILE, render(report))
    except OSError as error:
        raise FedwardError("report cannot be written", where=folder, value=error.strerror) from None
    return folder / HTML_FILE


def write_own_copy(path: Path, report: Report, examples: Sequence[Example]) -> None:
    """Write a hospital's own page of a report, with images of its patients, readable only by its owner.

    Raises:
        FedwardError: a file that cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.chmod(0o600)
        path.write_text(render(report, examples=examples), encoding="utf-8")
    except OSError as error:
        raise FedwardError("report cannot be written", where=path, value=error.strerror) from None


def read_report(where: Path) -> Report:
    """Read ``report.json`` from a folder, or the file itself: the inverse of ``write_report``.

    Raises:
        FedwardError: no report there, one of another schema, or a damaged one.
    """
    path = where / JSON_FILE if where.is_dir() else where
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        schema = content.pop("schema", None)
        if schema != SCHEMA:
            raise FedwardError("report of another schema", where=path, value=schema, remedy="make it again")
        return TypeAdapter(Report).validate_python(content)
    except OSError as error:
        raise FedwardError("report cannot be read", where=path, value=error.strerror) from None
    except (ValueError, TypeError, AttributeError):
        raise FedwardError("not a report", where=path, remedy="make it again") from None
