"""Write parts as text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from fedward.parts.part import REQUIRED, Part

PAGES = {
    "networks": "https://docs.monai.io/en/stable/networks.html",
    "losses": "https://docs.monai.io/en/stable/losses.html",
    "transforms": "https://docs.monai.io/en/stable/transforms.html",
    "optimizers": "https://docs.pytorch.org/docs/stable/optim.html",
}
"""Table -> page of the library's own documentation."""
WIDTH = 100
"""Characters of a line."""


def names_text(parts: Sequence[Part]) -> str:
    """Return a line for each part of one table: its name, what it is, and its first fact."""
    longest = max(len(part.name) for part in parts)
    lines = []
    for part in parts:
        facts = [value for column, value in part.facts.items() if column in _IN_LIST]
        known = f"{part.about}. {'; '.join(facts)}" if facts else part.about
        lines += textwrap.wrap(
            plain(known), WIDTH, initial_indent=f"{part.name:{longest}}  ", subsequent_indent=" " * (longest + 2)
        )
    return "\n".join(lines)


_IN_LIST = ("task", "images", "for", "stage")


def part_text(part: Part) -> str:
    """Return all about one part."""
    lines = [f"{part.name}: {part.about}", ""]
    lines += [f"{column}: {plain(value)}" for column, value in part.facts.items()]
    if part.set_here:
        lines += _wrapped(f"Fedward sets: {', '.join(part.set_here)}")
    lines += ["", "in job.toml:", *(f"    {line}" for line in part.example.splitlines()), ""]
    needed = [name for name, default in part.arguments.items() if default == REQUIRED]
    if needed:
        lines += _wrapped(f"must be given: {', '.join(needed)}")
    rest = [f"    {name} = {plain(default)}" for name, default in part.arguments.items() if default != REQUIRED]
    lines += ["arguments and their defaults:", *rest] if rest else []
    return "\n".join([*lines, "", f"see {part.name} in {PAGES[part.kind]}"])


def plain(markdown: str) -> str:
    """Return a text of a page as a terminal has it."""
    return markdown.replace("`", "")


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="    ")
