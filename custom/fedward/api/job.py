"""A job to read, change and check in Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedward.demo.search.override import dotted, override
from fedward.settings import JobSpec, read_job


@dataclass(frozen=True, slots=True)
class Job:
    """One federated job.

    Attributes:
        settings: content of ``job.toml``, frozen.
    """

    settings: JobSpec

    @classmethod
    def read(cls, folder: Path | str) -> Job:
        """Read a job's folder, or its ``job.toml``.

        Raises:
            SettingsError: no such file, or a fault in it.
        """
        return cls(read_job(Path(folder)))

    @property
    def name(self) -> str:
        """The job's name."""
        return self.settings.job.name

    @property
    def hash(self) -> str:
        """Hash that a hospital approves; every setting changes it."""
        from fedward.privacy.policy.job_hash import job_hash

        return job_hash(self.settings)

    def with_(self, **tables: Mapping[str, Any]) -> Job:
        """Return the job with other settings, such as ``job.with_(training={"lr": 0.01})``; this one stays as it is.

        Args:
            tables: table of ``job.toml`` -> its changed settings; None removes one. A table with a ``name``, such as
                ``loss``, is replaced as a whole.

        Raises:
            SettingsError: a name that is no setting, with the one that is meant, or a value that is not allowed.
        """
        return Job(override(self.settings, dotted(tables, job=self.settings)))

    def check(self) -> tuple[str, ...]:
        """Return the job's faults as ``fedward job check`` prints them, each with its remedy; empty for a sound job."""
        from fedward.training.check import job_faults

        return tuple(job_faults(self.settings))

    def __str__(self) -> str:
        return f"{self.name} ({self.settings.job.task}, {self.settings.federation.rounds} rounds)"
