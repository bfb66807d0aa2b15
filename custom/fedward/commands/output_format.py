"""Define the format of a command's answer: text for people or JSON for scripts."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    text = "text"
    json = "json"
