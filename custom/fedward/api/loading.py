"""Load what a job left: its report, and its model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fedward.api.job import Job
from fedward.api.simulation import Simulation

if TYPE_CHECKING:
    from fedward.api.model import Model
    from fedward.reporting.data.report import Report


def load_report(where: Path | str) -> Report:
    """Read a job's report: ``report.json``, the folder that holds it, or a job's downloaded result.

    The report is frozen data, with the fields of ``report.schema.json``. None means "not measured"; a score that a
    hospital withholds has ``suppressed`` set.

    Raises:
        FedwardError: no report there, or one of another version.
    """
    from fedward.reporting.write import JSON_FILE, read_report

    path = Path(where)
    if path.is_dir() and not (path / JSON_FILE).exists() and (path / "workspace").is_dir():
        from fedward.reporting.data.from_events import report_of
        from fedward.reporting.result import from_a_server, read_result

        with from_a_server(path):
            return report_of(*read_result(path))
    return read_report(path)


def load_model(source: Simulation | Path | str, *, job: Job | Path | str | None = None) -> Model:
    """Load a model with its preparation of images.

    Args:
        source: result of ``simulate``; a job's downloaded result; a bundle of ``fedward model export``; or
            ``FL_global_model.pt`` with its job.
        job: the job, where ``source`` is a file.

    Raises:
        SettingsError: a file without a job.
        JobError: no model there, or one that does not fit its job, was never trained or is not whole.
    """
    from fedward.api.model import Model
    from fedward.bundle.predict import is_bundle, read_bundle
    from fedward.coldstart.model import Given, check_weights, read_file, read_given

    if isinstance(source, Simulation):
        from fedward.weights import digest

        spec = source.job.settings
        weights = check_weights(source.weights, spec, where=Path(source.job.name))
        sites = frozenset(source.scores)
        return Model(Given(job=spec, weights=weights, sha256=digest(weights), took_part=sites))
    path = Path(source)
    if is_bundle(path):
        return Model(read_bundle(path))
    if isinstance(job, Job):
        content, sha256 = read_file(path)
        weights = check_weights(content, job.settings, where=path)
        return Model(Given(job=job.settings, weights=weights, sha256=sha256, took_part=frozenset()))
    return Model(read_given(path, None if job is None else Path(job)))
