"""Check that no text of a site or a job is markup on a terminal: all of rich goes through ``fedward.screen``."""

from __future__ import annotations

import ast
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import fedward
from fedward.demo.progress import Show
from fedward.reporting.data.from_events import report_of
from fedward.reporting.terminal import show_participation
from fedward.screen import column, line, screen
from fedward.settings import JobSpec, parse
from tests.conftest import tiny_job_content

PACKAGE = Path(fedward.__file__).parent
READS_MARKUP = {
    "rich.console.Console",
    "rich.get_console",
    "rich.inspect",
    "rich.markup",
    "rich.print",
    "rich.print_json",
    "rich.progress.SpinnerColumn",
    "rich.progress.TextColumn",
    "rich.progress.track",
    "rich.prompt",
    "rich.spinner",
    "rich.status",
    "rich.panel",
    "rich.rule",
    "rich.tree",
    "rich.logging",
    "rich.text.Text.from_markup",
}
"""Functions of rich that read markup in their text."""
EVIL = "[red]no[/red] [link=http://evil]here[/link] [/] :smile: [bold"
STEERS = "\x1b[2J\x1b]8;;http://evil\x07\u202e"


def calls(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of every call of something of rich's, and of every call that asks for markup."""
    tree, names = ast.parse(source), dict[str, str]()
    prints = "fedward.screen" in source or "rich" in source
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "rich":
            names |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
        if isinstance(node, ast.Import):
            ours = [one for one in node.names if one.name.split(".")[0] == "rich"]
            names |= {one.asname or "rich": one.name if one.asname else "rich" for one in ours}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        parts, at = [], node.func
        while isinstance(at, ast.Attribute):
            parts.insert(0, at.attr)
            at = at.value
        if isinstance(at, ast.Name) and at.id in names:
            yield node.lineno, ".".join([names[at.id], *parts])
        if any(one.arg == "markup" and not _is(one.value, False) for one in node.keywords):
            yield node.lineno, "rich.markup"
        if parts and parts[-1] in ("from_markup", "render_markup"):
            yield node.lineno, "rich.markup"
        if prints and parts and parts[-1] == "status" and node.args and not _is(node.args[0], ""):
            yield node.lineno, "rich.status"


def _is(node: ast.expr, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value == value and type(node.value) is type(value)


def faults(source: str) -> list[str]:
    return [
        f"{number}: {name}"
        for number, name in calls(source)
        if any(name == one or name.startswith(f"{one}.") for one in READS_MARKUP)
    ]


def test_only_one_room_makes_what_reads_markup() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix(): faults(path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    }
    assert [name.split(": ")[1] for name in found.pop("screen.py")] == [
        "rich.console.Console",
        "rich.progress.TextColumn",
    ]
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "bad",
    [
        "from rich.console import Console\nConsole()",
        "import rich\nrich.print('a')",
        "from rich import print\nprint('a')",
        "from rich.progress import TextColumn as T\nT('a')",
        "import rich.console as c\nc.Console(markup=True)",
        "console.print('a', markup=True)",
        "console.print('a', markup=asked)",
        "Text.from_markup('a')",
        "from rich.prompt import Prompt\nPrompt.ask('a')",
        "from fedward.screen import screen\nscreen().status(name)",
        "from rich.status import Status\nStatus(name)",
    ],
)
def test_the_rule_finds(bad: str) -> None:
    assert faults(bad)


def shown(print_it: Any, *, width: int = 200) -> str:
    """Return the text that a terminal with colours receives."""
    console = screen()
    console.file, console.width, console.legacy_windows = io.StringIO(), width, False
    console._force_terminal, console._color_system = True, None
    print_it(console)
    return str(console.file.getvalue())


def test_markup_is_words_wherever_it_stands() -> None:
    table = Table(EVIL, title=EVIL, caption=EVIL)
    table.add_row(EVIL)
    assert shown(lambda console: console.print(table)).count(EVIL) == 4
    assert EVIL in shown(lambda console: console.print(EVIL))
    assert EVIL in shown(lambda console: console.print(line(EVIL, "red")))

    def progress(console: Console) -> None:
        with Progress(column("{task.description}"), column("{task.fields[note]}"), console=console) as bar:
            bar.add_task(EVIL, note=EVIL)

    assert EVIL in shown(progress)


@given(st.text())
def test_a_line_has_no_character_that_steers(words: str) -> None:
    assert str(line(words)).isprintable()
    assert str(line("Füße, ε 8")) == "Füße, ε 8"


EVENTS: list[dict[str, Any]] = [
    {"event": "admitted", "site": EVIL},
    {"event": "declined", "site": "north", "reason": EVIL},
    {"event": "dropped", "site": "north", "round": 0, "reason": EVIL},
    {"event": "failed", "reason": EVIL},
    {"event": "suspect", "site": "north", "round": 0, "reason": EVIL},
    {"event": "unopened", "purpose": "scores", "reason": EVIL},
    {"event": "clipped", "site": EVIL, "round": 0, "values": 3},
    {"event": "opened", "site": EVIL, "sha256": "ab"},
    {"event": "encrypted", "scheme": "aes-ctr", "precision": "compact", "key": "[red]abc"},
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event["event"])
def test_an_event_is_shown_as_the_site_wrote_it_and_steers_nothing(event: dict[str, Any]) -> None:
    job = parse(JobSpec, tiny_job_content(), where="test")
    for more in ("", STEERS):
        told = {name: f"{value}{more}" if value == EVIL else value for name, value in event.items()}

        def show(console: Console, told: dict[str, Any] = told) -> None:
            Show(job, console).event(None, told)

        text = shown(show)
        assert (EVIL in text) or "[red]abc" in text
        assert not set(text) & set(STEERS[0] + STEERS[-1] + "\x07")
        assert text.strip().isprintable()


def test_what_a_hospital_did_and_how_far_it_is_are_words_too() -> None:
    job = parse(JobSpec, tiny_job_content(), where="test")

    def show(console: Console) -> None:
        view = Show(job, console)
        view.hospital("north", f"takes no part: {EVIL}{STEERS}")
        with view:
            view.made(EVIL, 1, 2)
            view.event(EVIL, {"event": "progress", "round": 0, "step": 1, "steps": 2, "loss": 0.5})

    text = shown(show)
    assert EVIL in text and "\u202e" not in text and "http://evil\x07" not in text


def test_a_reports_reasons_are_words_on_the_terminal() -> None:
    job = parse(JobSpec, tiny_job_content(), where="test")
    events: list[dict[str, Any]] = [
        {"event": "started", "at": 0.0, "sites": ["north"], "coverage": {}},
        {"event": "declined", "at": 1.0, "site": "north", "reason": EVIL + STEERS},
        {"event": "failed", "at": 2.0, "reason": EVIL + STEERS},
    ]
    text = shown(lambda console: show_participation(report_of(job, events), console), width=400)
    assert text.count(EVIL) == 2
    assert all(row.isprintable() for row in text.splitlines())
