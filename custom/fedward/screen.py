"""Print text on a terminal unchanged: no text is markup and no character controls the terminal, whoever wrote it.

rich interprets ``[red]``, ``[link=…]`` and ``:smile:`` in every string by default. Names, reasons and labels come from
sites and jobs, so everything that is printed with rich goes through this module; ``tests/contract/test_screen.py``
checks this.
"""

from __future__ import annotations

from rich.console import Console
from rich.progress import Progress, ProgressColumn, TextColumn
from rich.text import Text

from fedward.visible import visible


def screen(*, stderr: bool = False) -> Console:
    """Return a console without markup, emoji codes and highlighting, in tables and titles too."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def column(form: str) -> TextColumn:
    """Return a column of a progress bar that shows its task's text without markup.

    Args:
        form: as in rich, such as ``{task.description}``.
    """
    return TextColumn(form, markup=False)


def progress(*columns: ProgressColumn) -> Progress:
    """Return a progress bar on stderr that disappears when done; it shows nothing where stderr is no terminal."""
    console = screen(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def line(words: str, style: str = "") -> Text:
    """Return text in one style; unprintable characters appear as their escapes."""
    return Text(visible(words), style=style)
