"""Find the files that an invited site starts from."""

from __future__ import annotations

from pathlib import Path

import typer

from fedward.provisioning.invitation import LocalExtras
from fedward.provisioning.participants import line_of
from fedward.settings import FederationSpec

_BESIDE = "site_templates"


def extras_for(name: str, spec: FederationSpec, file: Path, templates: Path | None) -> LocalExtras:
    """Return the template files for a hospital's kit; none, with a note, if there are no templates."""
    hospital = line_of(spec, name).hospital
    if hospital is None:
        return LocalExtras()
    folder = templates if templates is not None else file.resolve().parent.parent / _BESIDE
    if not folder.is_dir():
        typer.echo(f"note: no templates in {folder}; the kit of {name} gets none of their files", err=True)
        return LocalExtras()
    from fedward.provisioning.templates import render, resource_components

    components = resource_components(folder, spec=spec, hospital=hospital)
    return LocalExtras(render(folder, spec=spec, hospital=hospital), components)
