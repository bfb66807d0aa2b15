"""Every command that a message quotes is one that can be typed: it exists, and has its arguments and options."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from fedward.cli import app

QUOTED = re.compile(r"(\S*) ?`(fedward (?:site|job|key|federation|dashboard|demo)\b[^`]*)`")
TYPED = frozenset({"run", "runs", "with", "see", "first", "then", "Then", "by", "other"})
"""Words before a command that tell the reader to type it; elsewhere a bare name, such as `fedward job check`, is a
mention."""
FILL = "X"
Command = tuple[str, str, str]


def texts(tree: ast.AST) -> Iterator[str]:
    """Yield the strings that a person may read: docstrings are left out, and a value in an f-string is ``FILL``."""
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    silent = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)} | inside
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else FILL for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in silent:
            yield node.value.replace("{}", FILL)


def quoted(package: Path) -> list[Command]:
    found = set()
    for path in sorted(package.rglob("*.py")):
        for text in texts(ast.parse(path.read_text(encoding="utf-8"))):
            found |= {(str(path.relative_to(package)), *match) for match in QUOTED.findall(text)}
    return sorted(found)


def fault(before: str, line: str) -> str | None:
    """Say what is wrong with a quoted command; None if it can be typed, or is a bare mention of a command."""
    command: Any = typer.main.get_command(app)
    words = line.split()[1:]
    while words and hasattr(command, "commands"):
        if (command := command.commands.get(words.pop(0))) is None:
            return "no such command"
    if not words and before not in TYPED:
        return None
    if hasattr(command, "commands"):
        return "ends before its verb"
    return _lacking(command, words)


def _lacking(command: Any, words: list[str]) -> str | None:
    options = {name: one for one in command.params for name in (*one.opts, *one.secondary_opts) if name[:1] == "-"}
    arguments = [one for one in command.params if one.param_type_name == "argument" and one.required]
    given, places = set(), 0
    while words:
        word = words.pop(0)
        if not word.startswith("-"):
            places += 1
            continue
        if word not in options:
            return f"no option {word}"
        given.add(options[word].name)
        if not options[word].is_flag and (not words or words.pop(0).startswith("-")):
            return f"{word} lacks its value"
    if places < len(arguments):
        return f"lacks {arguments[places].metavar or arguments[places].name.upper()}"
    lacking = [one.opts[0] for one in options.values() if one.required and one.name not in given]
    return f"lacks {lacking[0]}" if lacking else None


def test_every_quoted_command_can_be_typed(root: Path) -> None:
    found = quoted(root / "custom" / "fedward")
    assert len(found) > 30
    wrong = {(name, line): why for name, before, line in found if (why := fault(before, line)) is not None}
    assert wrong == {}


@pytest.mark.parametrize(
    ("before", "line", "why"),
    [
        ("run", "fedward site ledger --create", "lacks SITE_TOML"),
        ("as", "fedward site ledger --create", "lacks SITE_TOML"),
        ("run", "fedward site index", "lacks SITE_TOML"),
        ("the", "fedward site index", None),
        ("run", "fedward site ledger SITE_TOML --create", None),
        ("run", "fedward site ledger SITE_TOML --make", "no option --make"),
        ("run", "fedward site policy check SITE_TOML --job", "--job lacks its value"),
        ("run", "fedward site policy check SITE_TOML --job JOB", None),
        ("run", "fedward site legder X", "no such command"),
        ("run", "fedward key", "ends before its verb"),
    ],
)
def test_a_fault_of_a_command_is_found(before: str, line: str, why: str | None) -> None:
    assert fault(before, line) == why
