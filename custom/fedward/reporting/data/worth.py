"""Take a report's scores for the verdicts on its model (``fedward.validation.comparison.model_worth``)."""

from __future__ import annotations

from fedward.reporting.data.report import Report, SiteResult
from fedward.validation.comparison.model_worth import ModelScores, ModelVerdict, SiteScores, model_worth


def verdicts(report: Report) -> tuple[ModelVerdict, ...]:
    """Return the verdicts on a report's model, the bad ones first; at least one."""
    return model_worth(_scores(report))


def joining(report: Report) -> ModelVerdict | None:
    """Return the verdict on joining; None where no hospital's own model was measured."""
    return next((one for one in verdicts(report) if one.kind in ("joining", "below-alone")), None)


def _scores(report: Report) -> ModelScores:
    private = report.privacy != "none"
    together, reference = report.pooled.value, (report.pooled_private if private else report.centralised_pooled).value
    return ModelScores(
        measure=report.measure,
        private=private,
        sites=[_site(site, private=private) for site in report.sites],
        apart=None if together is None or reference is None else together - reference,
    )


def _site(site: SiteResult, *, private: bool) -> SiteScores:
    score = site.federated
    return SiteScores(
        site=site.site,
        value=score.value,
        low=score.low,
        high=score.high,
        suppressed=score.suppressed,
        history={number: point.value for number, point in enumerate(site.history)},
        alone=(site.private_alone if private else site.local_only).value,
        alone_without_noise=site.local_only.value,
        pooled=(site.pooled_private if private else site.centralised).value,
    )
