"""Text as a screen may show it, whoever wrote it."""

from __future__ import annotations


def visible(text: str) -> str:
    """The text with every character that prints nothing, or steers a terminal, as its escape.

    A job's labels and a site's reasons are whoever's words; what a person approves is what the screen shows.
    """
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
