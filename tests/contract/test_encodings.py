"""Every text file and every text of a child process has a named encoding: none depends on the machine's locale."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import fedward

PACKAGE = Path(fedward.__file__).parent
TEXT = {"read_text": 0, "write_text": 1}
"""Method -> position of its encoding."""
CHILDREN = ("run", "Popen", "check_output")


def faults(source: str) -> Iterator[str]:
    """Return line and name of every call that leaves the encoding to the locale."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        named = {one.arg: one.value for one in node.keywords}
        if "encoding" in named:
            continue
        if name in TEXT and len(node.args) <= TEXT[name]:
            yield f"{node.lineno}: {name}"
        if name in ("open", "fdopen", "TemporaryFile", "NamedTemporaryFile") and _is_text(node, name, named):
            yield f"{node.lineno}: {name}"
        if name in CHILDREN and {"text", "universal_newlines"} & set(named):
            yield f"{node.lineno}: {name}"
        if name in ("TextIOWrapper", "FileInput"):
            yield f"{node.lineno}: {name}"


def _is_text(node: ast.Call, name: str, named: dict[str | None, ast.expr]) -> bool:
    """True if a file is opened as text; an ``open`` of another kind of object has no mode."""
    if name == "fdopen" or (name == "open" and isinstance(node.func, ast.Name)):
        modes = [*node.args[1:2], *([named["mode"]] if "mode" in named else [])]
        return not modes or not _binary(modes[0])
    modes = [*node.args[:1], *([named["mode"]] if "mode" in named else [])]
    if name == "open":
        return any(
            isinstance(one, ast.Constant) and one.value in ("r", "w", "a", "x", "rt", "wt", "r+", "w+") for one in modes
        )
    return bool(modes) and not _binary(modes[0])


def _binary(mode: ast.expr) -> bool:
    return isinstance(mode, ast.Constant) and "b" in str(mode.value)


def test_no_text_of_the_packages_depends_on_the_locale() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix(): list(faults(path.read_text(encoding="utf-8")))
        for path in sorted(PACKAGE.rglob("*.py"))
    }
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "bad",
    [
        "path.read_text()",
        "path.write_text(text)",
        "path.open('w')",
        "open(path)",
        "open(path, 'a')",
        "os.fdopen(3, 'w')",
        "tempfile.TemporaryFile('w+')",
        "subprocess.run(words, text=True)",
        "subprocess.Popen(words, universal_newlines=True)",
        "io.TextIOWrapper(raw)",
    ],
)
def test_the_rule_finds(bad: str) -> None:
    assert list(faults(bad))


@pytest.mark.parametrize(
    "good",
    [
        "path.read_text('utf-8')",
        "path.write_text(text, encoding='ascii')",
        "path.open('rb')",
        "open(path, 'wb')",
        "store.open(path)",
        "archive.open(entry)",
        "tempfile.TemporaryFile()",
        "subprocess.run(words, encoding='utf-8')",
    ],
)
def test_the_rule_passes_what_is_bytes_or_named(good: str) -> None:
    assert not list(faults(good))
