"""Define the format of a command's answer: text for people or JSON for scripts."""

from __future__ import annotations

from enum import StrEnum

import typer


class Format(StrEnum):
    text = "text"
    json = "json"


FORMAT: Format = typer.Option(Format.text, "--format", help="text for people, json for scripts.")
"""``--format`` of every command that answers scripts too."""
