"""Check that the documents describe what is there."""

from __future__ import annotations

import importlib
import re
import runpy
import shlex
import subprocess
import textwrap
from pathlib import Path

import pytest

from fedward import pipeline
from fedward.privacy.disclosure.metric_registry import BREAKDOWNS
from fedward.privacy.disclosure.release import unknown_names
from fedward.settings import Disclosure, FederationSpec, JobSpec, SitePolicy
from fedward.settings.base import Settings

DOOR = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")


def readme(root: Path) -> str:
    return (root / "README.md").read_text(encoding="utf-8")


def fenced(text: str, language: str) -> list[str]:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    return [body for name, body in blocks if name == language]


def test_the_tree_names_every_folder_and_only_folders_that_are_there(root: Path) -> None:
    tree = next(block for block in fenced(readme(root), "") if "jobs/" in block)
    named = {line.split()[0].rstrip("/").split("/")[0] for line in tree.splitlines()}
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    there = {name.split("/")[0] for name in tracked if "/" in name and not name.startswith(".")}
    assert named == there


def test_readme_says_what_matters_in_its_first_sixty_lines(root: Path) -> None:
    first = "\n".join(readme(root).splitlines()[:60])
    for word in ("make demo", "make test", "operator.md", "hospital-it.md", "data-scientist.md", "privacy-officer.md"):
        assert word in first
    assert "hospital ─" in first
    assert "custom/fedward/" in first


def test_readme_has_the_pipeline_as_the_code_has_it(root: Path) -> None:
    rows = [line for line in readme(root).splitlines() if line.startswith("| ")]
    stages = [tuple(cell.strip() for cell in row.strip("|").split("|")) for row in rows]
    for stage in pipeline.STAGES:
        assert (stage.name, stage.where, stage.what) in stages
        importlib.import_module(stage.module)


def test_every_link_leads_somewhere(root: Path) -> None:
    for page in [
        root / "README.md",
        root / "CONTRIBUTING.md",
        root / "SECURITY.md",
        *(root / "docs").rglob("*.md"),
        *root.glob("jobs/*/*.md"),
    ]:
        for target in DOOR.findall(page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(root)} links to {target}"


@pytest.mark.parametrize("name", ["reference", "messages", "parts"])
def test_the_reference_is_what_the_code_says(root: Path, name: str) -> None:
    made = runpy.run_path(str(root / "docs" / f"{name}.py"))[name]()
    assert (root / "docs" / f"{name}.md").read_text(encoding="utf-8") == made, "run `make reference`"
    assert "None |" not in made, "a command or setting has no meaning written down"


@pytest.mark.parametrize("page", ["parts.md", "from-bundle.md", "from-flower.md", "reference.md", "validate.md"])
def test_a_newcomer_is_there_in_two_clicks_from_readme(root: Path, page: str) -> None:
    first = {(root / door).resolve() for door in DOOR.findall(readme(root))}
    pages = [one for one in first if one.suffix == ".md"]
    second = {(one.parent / door).resolve() for one in pages for door in DOOR.findall(one.read_text(encoding="utf-8"))}
    assert root / "docs" / page in first | second


@pytest.mark.parametrize("model", [JobSpec, SitePolicy, FederationSpec], ids=lambda model: model.__name__)
def test_the_reference_has_every_setting_and_every_value_of_a_closed_list(root: Path, model: type[Settings]) -> None:
    """Against pydantic's own JSON schema, which descends into every table, optional or not."""
    page = (root / "docs" / "reference.md").read_text(encoding="utf-8")
    schema = model.model_json_schema()
    for table in [schema, *schema.get("$defs", {}).values()]:
        for name, field in table.get("properties", {}).items():
            rows = re.findall(rf"^\| `(?:[^`]*\.)?{name}(?:\[\]|\.<name>)?[`.].*", page, re.MULTILINE)
            assert rows, f"{table['title']}.{name} is not in the reference"
            closed = [field, *field.get("anyOf", []), field.get("items", {})]
            for values in (one["enum"] for one in closed if "enum" in one):
                assert any(all(f"`{value}`" in row for value in values) for row in rows), f"{name}: {values}"


def test_a_hospitals_list_may_name_what_the_reference_has_below_metrics(root: Path) -> None:
    page = (root / "docs" / "reference.md").read_text(encoding="utf-8")
    section = page.partition("## Metrics that may leave")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", section, re.MULTILINE))
    assert len(rows) > 5
    names = [f"{group}.{name}" for group in set(rows) - set(BREAKDOWNS) for name in re.findall(r"`(\w+)`", rows[group])]
    assert unknown_names(Disclosure(metrics=(*rows, *names), decimals=3, min_count=5)) == []
    assert unknown_names(Disclosure(metrics=("scores.nothing",), decimals=3, min_count=5)) == ["scores.nothing"]


def test_make_help_lists_every_verb_in_a_line(root: Path) -> None:
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)
    assert phony is not None
    shown = subprocess.run(["make", "help"], cwd=root, capture_output=True, text=True, check=True).stdout
    for verb in phony.group(1).split():
        assert re.search(rf"^\s*make {verb}\s+\S", shown, flags=re.MULTILINE), verb


def test_the_file_of_a_hospital_without_a_kit_is_one(root: Path) -> None:
    import tomllib

    from fedward.settings import SitePolicy, parse

    page = (root / "docs" / "validate.md").read_text(encoding="utf-8")
    block = page.split("```toml\n")[1].split("```")[0]
    policy = parse(SitePolicy, tomllib.loads(textwrap.dedent(block)), where="docs/validate.md")
    assert policy.disclosure.metrics == () and policy.cohorts["chest"].pacs is None


def help_of(*words: str) -> str:
    from typer.testing import CliRunner

    from fedward.cli import app

    return CliRunner().invoke(app, [*words, "--help"], terminal_width=80).output


@pytest.mark.parametrize("noun", ["", "job", "site", "site policy", "federation", "key", "audit"])
def test_help_fits_a_terminal_of_eighty_columns(noun: str) -> None:
    """Each command's line is a whole sentence, and a flag shows no type."""
    shown = help_of(*noun.split())
    assert "Commands:" in shown and "..." not in shown.partition("Commands:")[2], shown
    assert "<bool>" not in shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("page", ["data-scientist.md", "parts.md", "from-bundle.md", "from-flower.md"])
def test_each_command_of_the_data_scientists_pages_is_one(root: Path, page: str) -> None:
    """Each is parsed as it stands there, with its placeholders, and not run."""
    import typer

    from fedward.cli import app

    text = textwrap.dedent((root / "docs" / page).read_text(encoding="utf-8"))
    blocks = re.findall(r"^ *```bash\n(.*?)^ *```", text, flags=re.DOTALL | re.MULTILINE)
    typed = [
        shlex.split(line) for block in blocks for line in block.splitlines() if line.strip().startswith("fedward ")
    ]
    assert typed
    for words in typed:
        command, rest = typer.main.get_command(app), words[1:]
        while nested := getattr(command, "commands", None):
            assert rest[0] in nested, words
            command, rest = nested[rest[0]], rest[1:]
        command.make_context(words[0], rest)


def test_make_help_fits_a_terminal_of_eighty_columns(root: Path) -> None:
    shown = subprocess.run(["make", "help"], cwd=root, capture_output=True, text=True, check=True).stdout
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("verb", ["demo", "test", "check", "bench", "kit"])
def test_every_verb_is_one_that_make_knows(root: Path, verb: str) -> None:
    done = subprocess.run(["make", "--dry-run", verb], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_only_the_flare_room_imports_flare(root: Path) -> None:
    """ruff checks this too; this test checks it without ruff."""
    for file in (root / "custom").rglob("*.py"):
        if "flare" not in file.parts:
            assert not re.search(r"^\s*(import|from) nvflare", file.read_text(encoding="utf-8"), flags=re.MULTILINE), (
                file
            )


def test_no_room_grows_into_two(root: Path) -> None:
    for file in (root / "custom").rglob("*.py"):
        assert len(file.read_text(encoding="utf-8").splitlines()) <= 300, (
            f"{file.relative_to(root)}: does it hold two things?"
        )


def test_the_version_is_said_once(root: Path) -> None:
    from importlib.metadata import version

    from fedward import __version__

    assert version("fedward") == __version__
    assert f"## [{__version__}]" in (root / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_privacy_officer_reads_every_sentence_of_a_refusal(root: Path) -> None:
    from fedward.flare.refusal import SENTENCES, SETTINGS

    page = (root / "docs" / "privacy-officer.md").read_text(encoding="utf-8")
    section = page.split("### The line of a refusal\n")[1].split("\n#")[0]
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \|$", section, flags=re.MULTILINE)
    codes = [(code.value, sentence) for code, sentence in SENTENCES.items()]
    assert rows == [*codes, *SETTINGS.items()]
