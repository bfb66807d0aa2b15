"""Write a dossier as ``dossier.json`` and as one HTML page to print and sign: no script, no outside request."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from markupsafe import Markup

from fedward.errors import FedwardError
from fedward.files import write_atomic
from fedward.measures import TITLES
from fedward.reporting.dossier.dossier import DOSSIER_SCHEMA, Dossier
from fedward.reporting.page import WORDS, by_round, resource, template

JSON_FILE, HTML_FILE = "dossier.json", "dossier.html"
ADMISSIONS = {
    "approved": "approved by hash before it ran",
    "submitter": "admitted by who submitted it",
    "any": "admitted as any job is",
}
"""Rule by which a hospital admitted a job -> text on the page."""


def render(dossier: Dossier, *, sha256: str) -> str:
    """Return the page as text.

    Args:
        dossier: dossier to show.
        sha256: hash of ``dossier.json``, which the signer quotes.
    """
    return template("dossier.html").render(
        dossier=dossier,
        sha256=sha256,
        measure=TITLES[dossier.measure],
        style=Markup(resource("report.css") + resource("dossier.css")),
        admissions=ADMISSIONS,
        missing=[(one.site, by_round(one.participation.missed)) for one in dossier.members if one.participation.missed],
        **WORDS,
    )


def write_dossier(folder: Path, dossier: Dossier) -> tuple[Path, str]:
    """Write ``dossier.json`` and ``dossier.html`` into ``folder``, each whole or not at all.

    Returns:
        The path of ``dossier.html``, and the SHA-256 of ``dossier.json``.

    Raises:
        FedwardError: a number that is not finite, or a folder that cannot be written to.
    """
    try:
        content = json.dumps({"schema": DOSSIER_SCHEMA, **asdict(dossier)}, indent=2, allow_nan=False) + "\n"
    except ValueError:
        raise FedwardError("dossier holds a number that is not finite", where=folder) from None
    sha256 = hashlib.sha256(content.encode("utf-8")).hexdigest()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / JSON_FILE, content)
        write_atomic(folder / HTML_FILE, render(dossier, sha256=sha256))
    except OSError as error:
        raise FedwardError("dossier cannot be written", where=folder, value=error.strerror) from None
    return folder / HTML_FILE, sha256
