"""``report.json`` and ``report.html`` on disk; the first is the source of the second."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from fedward.dataset.manifest import replace_file
from fedward.errors import FedwardError
from fedward.reporting.page import render
from fedward.reporting.report import Report

SCHEMA = 1
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
        replace_file(folder / JSON_FILE, content)
        replace_file(folder / HTML_FILE, render(report))
    except OSError as error:
        raise FedwardError("report cannot be written", where=folder, value=error.strerror) from None
    return folder / HTML_FILE


def read_report(folder: Path) -> Report:
    """Read ``report.json`` from ``folder``, the inverse of ``write_report``.

    Raises:
        FedwardError: no report there, of another schema, or not as it was written.
    """
    path = folder / JSON_FILE
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
