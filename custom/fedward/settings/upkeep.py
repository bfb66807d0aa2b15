"""Define how long a kit keeps what ended jobs left: ``[upkeep]`` of ``site.toml``, the server's ``upkeep.toml``."""

from __future__ import annotations

from pydantic import Field

from fedward.settings.base import Settings


class Retention(Settings):
    """Limits for what ended jobs, turned logs and downloads leave in a kit; without it nothing is removed."""

    keep_days: int = Field(ge=1, le=36_500, description="Days that everything is kept after its last change.")
    keep_jobs: int = Field(
        default=10, ge=0, description="Ended jobs that are kept longer than `keep_days`: the newest so many."
    )
    max_gb: float | None = Field(
        default=None,
        gt=0,
        description="Gigabytes (10⁹ bytes) of all that is counted; above it the oldest goes first, younger than "
        "`keep_days` or not. None: no limit.",
    )
    audit_days: int | None = Field(
        default=None,
        ge=365,
        le=36_500,
        description="Days that a closed file of the audit log is kept after its last entry, a year or more; an entry "
        "says what was removed. None: for ever.",
    )
