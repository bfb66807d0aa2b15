"""Print text on a terminal unchanged: no text is markup and no character controls the terminal, whoever wrote it.

rich interprets ``[red]``, ``[link=…]`` and ``:smile:`` in every string by default. Names, reasons and labels come from
sites and jobs, so everything that is printed with rich goes through this module; ``tests/contract/test_screen.py``
checks this.
"""

from __future__ import annotations

import codecs
import io
import sys
from encodings import ascii as plain_ascii

from rich.console import Console
from rich.progress import Progress, ProgressColumn, TextColumn
from rich.text import Text

from fedward.visible import readable, visible

UTF8_CHILD = {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8"}
"""Environment of every Python process that Fedward starts: its files and its output are UTF-8 in every locale."""

_ERRORS, _ASCII = "fedward.readable", "fedward_ascii"
_WORDS = {
    "ε": "eps",
    "δ": "delta",
    "σ": "sigma",
    "τ": "tau",
    "ρ": "rho",
    "β": "beta",
    "η": "eta",
    "Δ": "Delta",
    "…": "...",
    "·": "-",
    "–": "-",
    "—": "-",
    "−": "-",
    "’": "'",
    "±": "+/-",
    "√": "sqrt",
    "∞": "inf",
    "→": "->",
    "←": "<-",
    "≥": ">=",
    "≤": "<=",
    "≈": "~",
    "×": "x",
    "²": "2",
    "₁": "1",
    "₂": "2",
    "─": "-",
    "│": "|",
    "├": "|",
    "└": "`",
}
"""Character -> the words for it on a terminal that cannot show it."""


def printable() -> None:
    """Make stdout and stderr print every text in every locale: what an encoding lacks appears as words or an escape.

    A stream in ASCII stays in ASCII. click would write UTF-8 there, beside the ASCII of ``print``; hence the codec of
    another name. A stream that is closed, or is no text stream of Python's own, stays as it is.
    """
    codecs.register_error(_ERRORS, _readable)
    codecs.register(_find_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            is_ascii = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding=_ASCII if is_ascii else None, errors=_ERRORS)


def _readable(error: UnicodeError) -> tuple[str, int]:
    """Handle characters that cannot be encoded; lone surrogates are bytes of a file name in another encoding."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = readable(error.object[error.start : error.end])
    return "".join(_encodable(character, error.encoding) for character in text), error.end


def _encodable(character: str, encoding: str) -> str:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return _WORDS.get(character) or character.encode("ascii", "backslashreplace").decode("ascii")
    return character


def _find_ascii(name: str) -> codecs.CodecInfo | None:
    if name != _ASCII:
        return None
    return codecs.CodecInfo(
        codecs.ascii_encode,
        codecs.ascii_decode,
        incrementalencoder=plain_ascii.IncrementalEncoder,
        incrementaldecoder=plain_ascii.IncrementalDecoder,
        name=_ASCII,
    )


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
