"""Escape text before a screen shows it, whoever wrote it."""

from __future__ import annotations


def visible(text: str) -> str:
    """Return the text with every unprintable character, such as a terminal control code, as its escape.

    Anyone may have written a job's labels and a site's reasons; a person approves what the screen shows.
    """
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
