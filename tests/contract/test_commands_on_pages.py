"""Each command of a page is one that Fedward knows, with its options, and each Python block uses public names."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import click
import pytest
import typer

import fedward
from fedward.cli import app

PAGES = ("README.md", "docs/data-scientist.md")


def blocks(root: Path, page: str, language: str) -> list[str]:
    text = (root / page).read_text(encoding="utf-8")
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", text, flags=re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", body, flags=re.MULTILINE) for indent, body in found]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_parses(root: Path, page: str) -> None:
    lines = [line for block in blocks(root, page, "bash") for line in block.replace("\\\n", " ").splitlines()]
    typed = [shlex.split(line, comments=True) for line in lines if line.startswith("fedward ")]
    assert len(typed) >= 5
    for _, *words in typed:
        command: click.Command = typer.main.get_command(app)
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        command.make_context("fedward", words)


@pytest.mark.parametrize("page", PAGES[1:])
def test_python_on_a_page_imports_public_names_alone(root: Path, page: str) -> None:
    found = blocks(root, page, "python")
    assert found
    for block in found:
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fedward"):
                assert node.module == "fedward" and {alias.name for alias in node.names} <= set(fedward.__all__)
