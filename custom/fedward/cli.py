"""Run the command line ``fedward …``: one thin module for each noun; errors become one line and exit code 1."""

from __future__ import annotations

import errno
import sys

import typer

from fedward import __version__
from fedward.commands import audit, dashboard, demo, key
from fedward.commands.federation import app as federation
from fedward.commands.job import app as job
from fedward.commands.model import app as model
from fedward.commands.site import app as site
from fedward.errors import FedwardError
from fedward.screen import printable

app = typer.Typer(
    help="Federated learning for hospitals on NVIDIA FLARE.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,  # plain help: a flag shows no type, and no text is read as markup
)
app.command(name="dashboard")(dashboard.dashboard)
app.command(name="demo")(demo.demo)
app.add_typer(audit.app, name="audit")
app.add_typer(federation.app, name="federation")
app.add_typer(job.app, name="job")
app.add_typer(key.app, name="key")
app.add_typer(model.app, name="model")
app.add_typer(site.app, name="site")


_INTERRUPTED = 130


def _version(asked: bool) -> None:
    if asked:
        from fedward.provisioning.stamp import package_hash

        typer.echo(f"fedward {__version__}, package {package_hash()}")
        raise typer.Exit


@app.callback()
def fedward(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print version and package hash."
    ),
) -> None:
    """Federated learning for hospitals on NVIDIA FLARE."""


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted."""
    printable()
    try:
        app()
    except SystemExit as stop:  # typer turns Ctrl-C into this code and prints nothing
        if stop.code == _INTERRUPTED:
            _say("stopped", _INTERRUPTED)
        raise
    except FedwardError as error:
        sys.exit(_say(str(error), 1))
    except UnicodeEncodeError as error:  # output cannot raise it: see printable
        if error.encoding.startswith("utf"):
            raise
        remedy = "set LC_ALL=C.UTF-8, or rename it in plain letters"
        sys.exit(_say(f"{error.object}: cannot be a file's name in this locale, {error.encoding}; {remedy}", 1))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        where = error.filename or "disk"
        sys.exit(_say(f"{where}: {error.strerror}; free space or give another folder", 1))


def _say(line: str, code: int) -> int:
    print(f"fedward: {line}", file=sys.stderr)
    return code
