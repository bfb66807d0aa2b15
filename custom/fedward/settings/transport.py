"""Define the lines that a job is planned for: ``[transport]`` of a ``job.toml``."""

from __future__ import annotations

from pydantic import Field

from fedward.settings.base import Settings

MOST_S = 7 * 86_400.0
"""Longest time-out that a job may ask for, in seconds."""


class Transport(Settings):
    """The slowest hospital's line and the job's largest message; the job's time-outs in FLARE follow from them.

    ``fedward job plan JOB --mbit-s …`` prints the table. Without it FLARE's own time-outs hold.
    """

    mbit_s: float = Field(gt=0, le=1e6, description="Mbit/s of the slowest hospital's line, in its slower direction.")
    message_mb: float = Field(gt=0, le=4000, description="MB (10⁶ bytes) of the job's largest message: a model.")
    round_trip_ms: float = Field(default=0.0, ge=0, le=60_000, description="Longest round trip, in milliseconds.")
    stall_s: float = Field(
        default=0.0, ge=0, le=3600, description="Longest pause of a line, in seconds, that a transfer survives."
    )

    @property
    def transfer_s(self) -> float:
        """Seconds that the largest message takes, one way, on a line that does nothing else."""
        return self.message_mb * 8.0 / self.mbit_s
