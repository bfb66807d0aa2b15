"""Define ``fedward site validate``: a hospital that took no part tests the consortium's model on its own patients."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.progress import BarColumn, TimeElapsedColumn

from fedward.commands.output_format import FORMAT, Format
from fedward.commands.site.options import SITE_TOML
from fedward.errors import SettingsError
from fedward.screen import column, progress
from fedward.settings import read_site

if TYPE_CHECKING:
    from fedward.coldstart.report import Answer

VALIDATION_FILE = "validation.json"
_JOB = typer.Option(None, help="The model's job: a folder with job.toml. A result's folder has its own.")
_EXPECTED = typer.Option(
    None, help="Expected AUC, or for masks standard deviation of Dice, to compute patients from. None: the threshold."
)
_OPERATING_POINT = typer.Option(
    None, help="Threshold on the score, chosen elsewhere: also print sensitivity and specificity at it."
)
_OUT = typer.Option(
    None,
    help="Folder for validation.json and a fine-tuned model. None: only the model, to site-validate beside site.toml.",
)


def validate(
    model: Path = typer.Argument(..., metavar="MODEL", help="FL_global_model.pt, or a downloaded result's folder."),
    site_toml: Path = SITE_TOML,
    job: Path | None = _JOB,
    cohort: str | None = typer.Option(None, help="Cohort of site.toml; without it, the one that the job names."),
    width: float = typer.Option(0.1, min=0.001, max=0.999, help="Wanted width of the 95 % interval, low to high end."),
    expected: float | None = _EXPECTED,
    threshold: float | None = typer.Option(
        None, min=0.0, max=1.0, help="What the result must reach. None: the job's acceptance.threshold."
    ),
    operating_point: float | None = _OPERATING_POINT,
    took_part: bool = typer.Option(
        False, "--took-part", help="This hospital trained the model: only its validation patients count."
    ),
    fine_tune: bool | None = typer.Option(
        None, "--fine-tune/--no-fine-tune", help="Train it on here in any case, or never. Neither: when it fails."
    ),
    out: Path | None = _OUT,
    format: Format = FORMAT,
) -> None:
    """Test a model on this hospital's own patients. On "fail", fine-tune it here and test it again.

    Exit code 0 only where the model as it came passes (without a threshold: where there is a number), else 1. A model
    that was trained on here stays here: it has no privacy guarantee.
    """
    policy = read_site(site_toml)
    if out is not None and out.exists() and not out.is_dir():
        raise SettingsError("not a folder", where=out, remedy="give another --out")
    from fedward.coldstart.model import read_given
    from fedward.coldstart.validate import Asked, validate_here

    given = read_given(model, job)
    asked = Asked(
        cohort=cohort,
        width=width,
        expected=expected,
        threshold=threshold,
        operating_point=operating_point,
        took_part=took_part,
        fine_tune=fine_tune,
        out=out or site_toml.parent / "site-validate",
    )
    with _bar() as on_step:
        answer = validate_here(given, policy, asked, on_step=on_step)
    _write(answer, out, format)
    if not answer.accepted:
        raise typer.Exit(1)


@contextmanager
def _bar() -> Iterator[Callable[[int, int | None, str], None]]:
    with progress(column("{task.description}"), BarColumn(), TimeElapsedColumn()) as bar:
        task = bar.add_task("reading the model", total=None)
        yield lambda done, total, what: bar.update(task, completed=done, total=total, description=what)


def _write(answer: Answer, out: Path | None, format: Format) -> None:
    """Print the answer, and write it where ``--out`` names a folder."""
    content = json.dumps(answer.plain(), indent=2)
    if out is not None:
        from fedward.files import write_atomic

        write_atomic(out / VALIDATION_FILE, content + "\n")
    for line in [content] if format is Format.json else answer.lines():
        typer.echo(line)
