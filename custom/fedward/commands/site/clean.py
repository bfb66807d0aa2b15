"""Define ``fedward site clean``: remove from a site's kit what ended jobs left, by the hospital's own limits."""

from __future__ import annotations

from pathlib import Path

from fedward.commands.cleaned import DRY_RUN, show
from fedward.commands.output_format import FORMAT, Format
from fedward.commands.site.options import SITE_TOML


def clean(site_toml: Path = SITE_TOML, dry_run: bool = DRY_RUN, format: Format = FORMAT) -> None:
    """Remove what ended jobs left in the kit. Old logs and downloads too, by `[upkeep]` of site.toml. A job that runs,
    or whose charge is open, stays; so do ledger, keys and cohorts."""
    from fedward.upkeep.clean import clean_site

    show(clean_site(site_toml, dry_run=dry_run), dry_run=dry_run, format=format)
