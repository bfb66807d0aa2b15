"""A terminal that shows words as they are: no text is markup, no character steers it, whoever wrote them.

rich reads ``[red]``, ``[link=…]`` and ``:smile:`` in every string by default. Names, reasons and labels come from sites
and from jobs, so all that is printed with rich goes through here; ``tests/contract/test_screen.py`` sees to it.
"""

from __future__ import annotations

from rich.console import Console
from rich.progress import Progress, ProgressColumn, TextColumn
from rich.text import Text

from fedward.visible import visible


def screen(*, stderr: bool = False) -> Console:
    """A console without markup, emoji codes and highlighting, in tables and titles too."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def column(form: str) -> TextColumn:
    """A column of a progress bar whose task's words are no markup.

    Args:
        form: as rich's, such as ``{task.description}``.
    """
    return TextColumn(form, markup=False)


def progress(*columns: ProgressColumn) -> Progress:
    """A progress bar on stderr, gone when done; it shows nothing where stderr is no terminal."""
    console = screen(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def line(words: str, style: str = "") -> Text:
    """Words in one style, with what prints nothing as its escape."""
    return Text(visible(words), style=style)
