"""Write Grafana's dashboards, as typed code: ``dashboards/*.json`` beside this file.

    python deploy/monitoring/dashboards.py

The same bytes each time. A test holds the files to what this writes, and runs every expression against a real
Prometheus. A panel's number that a hospital did not measure, or keeps below its floor, has no line: never zero.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueGraphMode,
    GraphDrawStyle,
    LegendDisplayMode,
    LegendPlacement,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

FOLDER = Path(__file__).with_name("dashboards")
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
REFS = "ABCDEFGH"
"""Names of a panel's queries, in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel.

    Attributes:
        title: what it shows, with its unit where Grafana has none.
        says: what the number means, behind the panel's "i".
        queries: legend, or column of a table -> expression; refIds are A, B, … in this order.
        kind: lines over time, one number, or a table of what is so now.
        unit: Grafana's name of it.
        units: column of a table -> unit, where they differ.
        width: in columns of the grid, of 24.
        bounds: of the axis.
        by: labels of a table's rows, a row for each.
        sort: the column that a table is sorted by, smallest first; with a minus before it, largest first.
    """

    title: str
    says: str
    queries: dict[str, str]
    kind: Literal["lines", "number", "table"] = "lines"
    unit: str = "none"
    units: dict[str, str] | None = None
    width: int = 12
    bounds: tuple[float, float] | None = None
    by: str = ""
    sort: str = ""


Row = tuple[str, tuple[Panel, ...]]
"""A row's heading and its panels."""


def number(title: str, says: str, expr: str, *, unit: str = "none", width: int = 4) -> Panel:
    return Panel(title=title, says=says, queries={title: expr}, kind="number", unit=unit, width=width)


def score(title: str, says: str, queries: dict[str, str], *, width: int = 12) -> Panel:
    return Panel(title=title, says=says, queries=queries, unit="percentunit", bounds=(0, 1), width=width)


FEDERATION: tuple[Row, ...] = (
    (
        "Now",
        (
            number("Hospitals connected", "To the server, now.", "sum(fedward_site_connected)"),
            number(
                "Hospitals known",
                "That the server has ever heard of.",
                "count(fedward_site_last_seen_timestamp_seconds)",
            ),
            number("Jobs running", "Said to run by the store.", "sum(fedward_job_running)"),
            number(
                "Jobs failed in a day",
                "Among those in which anything happened in the last 24 hours.",
                "sum(fedward_job_failed and on (fl_job) (time() - fedward_job_updated_timestamp_seconds < 86400))",
            ),
            number(
                "First certificate to end",
                "Days that are left of the hospital's certificate that ends first.",
                "min(fedward_certificate_left_days)",
                unit="d",
            ),
            number("Store", "Size of the metrics store on the server's disk.", "fedward_store_bytes", unit="bytes"),
            Panel(
                title="What fires",
                says="Alerts that fire now. Each has a heading in docs/runbook.md.",
                queries={"firing": 'ALERTS{alertstate="firing", alertname=~"$alertname"}'},
                kind="table",
                by="severity, alertname, site, job_name, fl_job",
                sort="severity",
                width=24,
            ),
        ),
    ),
    (
        "Hospitals",
        (
            Panel(
                title="Hospitals",
                says="Longest unseen first; the alert is at ten minutes.",
                queries={
                    "last seen, ago": "time() - fedward_site_last_seen_timestamp_seconds",
                    "connected": "fedward_site_connected",
                    "certificate": "fedward_certificate_left_days",
                },
                kind="table",
                units={"last seen, ago": "s", "certificate": "d"},
                by="site",
                sort="-last seen, ago",
            ),
            Panel(
                title="Since a hospital was last seen",
                says="By the server. The alert is at 600 s.",
                queries={"{{site}}": "time() - fedward_site_last_seen_timestamp_seconds"},
                unit="s",
            ),
            score(
                "ε that is left, of its cap",
                "Of the hospital's cohort with the least left, by its reports to any job. The alert is at 10 %.",
                {"{{site}}": "min by (site) (fedward_epsilon_left / fedward_epsilon_cap)"},
            ),
            score(
                "Rounds accepted, of those asked",
                "In the job where it is least.",
                {"{{site}}": "min by (site) (fedward_participation_ratio)"},
            ),
            Panel(
                title="Updates that no local training explains",
                says="Over all jobs. Encrypted jobs and jobs with noise are not looked at: it cannot be told there.",
                queries={"{{site}}": "sum by (site) (fedward_suspect_updates_total)"},
                width=24,
            ),
        ),
    ),
    (
        "Jobs",
        (
            Panel(
                title="Jobs",
                says="Newest news first.",
                queries={
                    "running": "fedward_job_running",
                    "resuming": "fedward_job_resuming",
                    "paused": "fedward_job_paused",
                    "finished": "fedward_job_finished",
                    "sites missing": "fedward_job_missing_sites",
                    "aborted": "fedward_job_aborted",
                    "failed": "fedward_job_failed",
                    "rounds done": "fedward_rounds_done",
                    "of": "fedward_rounds_asked",
                    "a round": "fedward_round_seconds",
                    "last news, ago": "time() - fedward_job_updated_timestamp_seconds",
                },
                kind="table",
                units={"a round": "s", "last news, ago": "s"},
                by="job_name, fl_job",
                sort="last news, ago",
                width=24,
            ),
            score(
                "AUC at the hospital where it is lowest",
                "The minimum over hospitals, not a mean: a mean hides the one that it does not serve.",
                {"{{job_name}}": "min by (fl_job, job_name) (fedward_auc_ratio)"},
            ),
            score(
                "Dice at the hospital where it is lowest",
                "The minimum over hospitals.",
                {"{{job_name}}": "min by (fl_job, job_name) (fedward_dice_ratio)"},
            ),
        ),
    ),
)

_J = '{fl_job="$fl_job"}'
JOB: tuple[Row, ...] = (
    (
        "Now",
        (
            number("Rounds done", "Rounds that count.", f"fedward_rounds_done{_J}"),
            number("Rounds asked", "By the job's settings.", f"fedward_rounds_asked{_J}"),
            number("Last round", "From start to end.", f"fedward_round_seconds{_J}", unit="s"),
            number("Last news", "Ago.", f"time() - fedward_job_updated_timestamp_seconds{_J}", unit="s"),
            number("Running", "1 while it runs.", f"fedward_job_running{_J}"),
            number("Failed", "1 where it failed.", f"fedward_job_failed{_J}"),
            number("Resuming", "1 while a new process takes it up.", f"fedward_job_resuming{_J}"),
            number("Paused", "1 while the server cannot go on.", f"fedward_job_paused{_J}"),
            number("Aborted", "1 where it was stopped.", f"fedward_job_aborted{_J}"),
            number("Finished", "1 where it is done.", f"fedward_job_finished{_J}"),
            number(
                "Missing at its end",
                "Hospitals, of a job that is done.",
                f"fedward_job_missing_sites{_J}",
                width=8,
            ),
        ),
    ),
    (
        "Each hospital's own patients",
        (
            score(
                "AUC",
                "Of the incoming model, on the validation patients of each hospital.",
                {"{{site}}": f"fedward_auc_ratio{_J}"},
            ),
            Panel(
                title="AUC now, with 95 % interval",
                says="Lowest first. The interval resamples patients. A hospital below its own floor has no number.",
                queries={
                    "AUC": f"fedward_auc_ratio{_J}",
                    "low": f"fedward_auc_low_ratio{_J}",
                    "high": f"fedward_auc_high_ratio{_J}",
                    "patients": f"fedward_validation_patients{_J}",
                    "positive": f"fedward_validation_positive_patients{_J}",
                    "images": f"fedward_validation_images{_J}",
                    "reported, ago": f"time() - fedward_reported_timestamp_seconds{_J}",
                },
                kind="table",
                units={"AUC": "percentunit", "low": "percentunit", "high": "percentunit", "reported, ago": "s"},
                by="site",
                sort="AUC",
            ),
            score(
                "Dice",
                "Of the incoming model, mean over structures, on the validation patients of each hospital.",
                {"{{site}}": f"fedward_dice_ratio{_J}"},
            ),
            Panel(
                title="Dice now, with 95 % interval",
                says="Lowest first. HD95 is the 95th percentile of the distance between surfaces, in millimetres.",
                queries={
                    "Dice": f"fedward_dice_ratio{_J}",
                    "low": f"fedward_dice_low_ratio{_J}",
                    "high": f"fedward_dice_high_ratio{_J}",
                    "HD95": f"fedward_hd95_mm{_J}",
                },
                kind="table",
                units={"Dice": "percentunit", "low": "percentunit", "high": "percentunit", "HD95": "lengthmm"},
                by="site",
                sort="Dice",
            ),
            Panel(
                title="Above the limit of the others",
                says="A hospital's value less (mean of the others − 2 SD of the others). Below 0 it is flagged, unless "
                "its interval reaches the mean of the others. Three hospitals or more, within 15 minutes.",
                queries={
                    "{{site}}": f"site_job:fedward_score:recent{_J}"
                    f" - (site_job:fedward_score:others_mean{_J} - 2 * site_job:fedward_score:others_sd{_J})"
                },
                width=24,
            ),
        ),
    ),
    (
        "Training",
        (
            Panel(
                title="Training loss",
                says="Of each hospital, in its last round.",
                queries={"{{site}}": f"fedward_training_loss{_J}"},
            ),
            Panel(
                title="Validation loss",
                says="Of the incoming model.",
                queries={"{{site}}": f"fedward_validation_loss{_J}"},
            ),
        ),
    ),
    (
        "Privacy",
        (
            Panel(
                title="ε spent, of all jobs",
                says="By the hospital's own ledger, of its patient who spent most, and its cap.",
                queries={"{{site}}": f"fedward_epsilon_spent{_J}", "cap of {{site}}": f"fedward_epsilon_cap{_J}"},
            ),
            Panel(
                title="ε charged for this job, and what is left",
                says="Charged before the job trains.",
                queries={
                    "{{site}} charged": f"fedward_epsilon_charged{_J}",
                    "{{site}} left": f"fedward_epsilon_left{_J}",
                },
            ),
        ),
    ),
    (
        "Time and traffic",
        (
            Panel(
                title="Server: a round by stage",
                says="Wait for the hospitals, and add their updates.",
                queries={"{{stage}}": f"fedward_server_stage_seconds{_J}"},
                unit="s",
            ),
            Panel(
                title="Hospitals: a round by stage",
                says="validate, train, seal (protect and encrypt), and the rest: transport and waiting.",
                queries={"{{site}} {{stage}}": f"fedward_stage_seconds{_J}"},
                unit="s",
            ),
            Panel(
                title="Encryption in a round",
                says="At the hospital.",
                queries={"{{site}}": f"fedward_encryption_seconds{_J}"},
                unit="s",
                width=8,
            ),
            Panel(
                title="Sent to a hospital so far",
                says="Bytes of models, without the transport's own.",
                queries={"{{site}}": f"fedward_sent_bytes_total{_J}"},
                unit="bytes",
                width=8,
            ),
            Panel(
                title="Received from a hospital so far",
                says="Bytes of updates, without the transport's own.",
                queries={"{{site}}": f"fedward_received_bytes_total{_J}"},
                unit="bytes",
                width=8,
            ),
        ),
    ),
    (
        "Who took part",
        (
            Panel(
                title="Hospitals",
                says="Least part first. A suspect update is one that no local training explains.",
                queries={
                    "part": f"fedward_participation_ratio{_J}",
                    "accepted": f"fedward_rounds_accepted_total{_J}",
                    "dropped": f"fedward_rounds_dropped_total{_J}",
                    "suspect": f"fedward_suspect_updates_total{_J}",
                },
                kind="table",
                units={"part": "percentunit"},
                by="site",
                sort="part",
            ),
            Panel(
                title="Rounds missed so far",
                says="Answers that were late, refused, or that did not come.",
                queries={"{{site}}": f"fedward_rounds_dropped_total{_J}"},
            ),
        ),
    ),
)

_S = '{site="$site"}'
SITE: tuple[Row, ...] = (
    (
        "Now",
        (
            number("Connected", "1 while it is.", f"fedward_site_connected{_S}", width=6),
            number("Last seen", "Ago.", f"time() - fedward_site_last_seen_timestamp_seconds{_S}", unit="s", width=6),
            number("Certificate", "Days that are left of it.", f"fedward_certificate_left_days{_S}", unit="d", width=6),
            number(
                "ε that is left, of its cap",
                "Of the cohort with the least left.",
                f"min(fedward_epsilon_left{_S} / fedward_epsilon_cap{_S})",
                unit="percentunit",
                width=6,
            ),
        ),
    ),
    (
        "The model on its own patients",
        (
            score(
                "AUC by job, with 95 % interval",
                "Of the incoming model. No line: not measured, or below the hospital's floor.",
                {
                    "{{job_name}}": f"fedward_auc_ratio{_S}",
                    "{{job_name}} low": f"fedward_auc_low_ratio{_S}",
                    "{{job_name}} high": f"fedward_auc_high_ratio{_S}",
                },
            ),
            score(
                "Dice by job, with 95 % interval",
                "Of the incoming model, mean over structures.",
                {
                    "{{job_name}}": f"fedward_dice_ratio{_S}",
                    "{{job_name}} low": f"fedward_dice_low_ratio{_S}",
                    "{{job_name}} high": f"fedward_dice_high_ratio{_S}",
                },
            ),
            Panel(
                title="Loss by job",
                says="Of training in the last round, and of the incoming model on validation patients.",
                queries={
                    "{{job_name}} training": f"fedward_training_loss{_S}",
                    "{{job_name}} validation": f"fedward_validation_loss{_S}",
                },
            ),
            Panel(
                title="Patients behind these numbers",
                says="Validation patients, and those with the finding in an image.",
                queries={
                    "{{job_name}}": f"fedward_validation_patients{_S}",
                    "{{job_name}} positive": f"fedward_validation_positive_patients{_S}",
                },
            ),
        ),
    ),
    (
        "Its part",
        (
            Panel(
                title="ε spent, of its cap",
                says="Of the patient who spent most, as the hospital's ledger says.",
                queries={"{{job_name}}": f"fedward_epsilon_spent{_S}", "{{job_name}} cap": f"fedward_epsilon_cap{_S}"},
            ),
            Panel(
                title="A round by stage",
                says="validate, train, seal, and the rest.",
                queries={"{{job_name}} {{stage}}": f"fedward_stage_seconds{_S}"},
                unit="s",
            ),
            Panel(
                title="Rounds so far",
                says="By job: accepted, missed.",
                queries={
                    "{{job_name}} accepted": f"fedward_rounds_accepted_total{_S}",
                    "{{job_name}} missed": f"fedward_rounds_dropped_total{_S}",
                },
            ),
            Panel(
                title="Traffic so far",
                says="Bytes of models and updates.",
                queries={
                    "{{job_name}} sent": f"fedward_sent_bytes_total{_S}",
                    "{{job_name}} received": f"fedward_received_bytes_total{_S}",
                },
                unit="bytes",
            ),
        ),
    ),
)


def _targets(panel: Panel) -> Iterator[prometheus.Dataquery]:
    for ref, (legend, expr) in zip(REFS, panel.queries.items(), strict=False):
        query = prometheus.Dataquery().ref_id(ref).datasource(SOURCE)
        if panel.kind == "lines":
            yield query.expr(expr).range().legend_format(legend)
        elif panel.kind == "number":
            yield query.expr(expr).instant().legend_format(legend)
        else:  # without their names and Prometheus' own labels, so that rows of several queries are one row
            yield query.expr(f"sum by ({panel.by}) ({expr})").instant().format(PromQueryFormat.TABLE)


def _lines() -> timeseries.Panel:
    legend = (
        common.VizLegendOptions()
        .show_legend(True)
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.RIGHT)
    )
    return (
        timeseries.Panel()
        .legend(legend)
        .draw_style(GraphDrawStyle.LINE)
        .line_width(2)
        .fill_opacity(0)
        .show_points(VisibilityMode.AUTO)
        .span_nulls(False)
    )


def _table(panel: Panel) -> table.Panel:
    """One row for the labels that its queries share, one column a query."""
    refs = dict(zip(panel.queries, REFS, strict=False))
    named = {f"Value #{ref}" if len(refs) > 1 else "Value": column for column, ref in refs.items()}
    built = table.Panel().with_transformation(DataTransformerConfig(id_val="merge", options={}))
    built.with_transformation(
        DataTransformerConfig(
            id_val="organize", options={"excludeByName": {"Time": True}, "indexByName": {}, "renameByName": named}
        )
    )
    for column, unit in (panel.units or {}).items():
        built.override_by_name(column, [DynamicConfigValue(id_val="unit", value=unit)])
    if panel.sort:
        built.sort_by(
            [common.TableSortByFieldState().display_name(panel.sort.removeprefix("-")).desc(panel.sort.startswith("-"))]
        )
    return built


def _panel(panel: Panel, number_: int) -> timeseries.Panel | stat.Panel | table.Panel:
    built: timeseries.Panel | stat.Panel | table.Panel
    if panel.kind == "lines":
        built = _lines()
    elif panel.kind == "table":
        built = _table(panel)
    else:
        built = stat.Panel().graph_mode(BigValueGraphMode.NONE)
        built.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    built.id(number_).title(panel.title).description(panel.says).datasource(SOURCE)
    built.height(4 if panel.kind == "number" else 8).span(panel.width).unit(panel.unit).no_value("not measured")
    if panel.bounds:
        built.min(panel.bounds[0]).max(panel.bounds[1])
    for target in _targets(panel):
        built.with_target(target)
    return built


def _variable(name: str, label: str, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
    )


def _whole(
    uid: str, title: str, rows: tuple[Row, ...], variables: tuple[dashboard.QueryVariable, ...]
) -> dashboard.Dashboard:
    built = (
        dashboard.Dashboard(title)
        .uid(uid)
        .tags(["fedward"])
        .timezone("browser")
        .time("now-6h", "now")
        .refresh("30s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(dashboard.DashboardLink("Fedward").type(DashboardLinkType.DASHBOARDS).tags(["fedward"]).keep_time(True))
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )
    for variable in variables:
        built.with_variable(variable)
    number_ = 0
    for heading, panels in rows:
        number_ += 1
        built.with_row(dashboard.Row(heading).id(number_))
        for panel in panels:
            number_ += 1
            built.with_panel(_panel(panel, number_))
    return built


def dashboards() -> dict[str, str]:
    """Every dashboard: its file's name -> the file's text, the same each time."""
    every = VariableOption(text="All", value="$__all")
    alerts = _variable("alertname", "Alert", "label_values(ALERTS, alertname)")
    built = {
        "federation": _whole(
            "fedward-federation",
            "Fedward: federation",
            FEDERATION,
            (alerts.multi(True).include_all(True).all_value(".*").current(every),),
        ),
        "job": _whole(
            "fedward-job",
            "Fedward: job",
            JOB,
            (
                _variable("job_name", "Job", "label_values(fedward_rounds_asked, job_name)"),
                _variable("fl_job", "Run", 'label_values(fedward_rounds_asked{job_name="$job_name"}, fl_job)'),
            ),
        ),
        "site": _whole(
            "fedward-site",
            "Fedward: hospital",
            SITE,
            (_variable("site", "Hospital", "label_values(fedward_site_last_seen_timestamp_seconds, site)"),),
        ),
    }
    return {f"{name}.json": _text(one.build()) for name, one in built.items()}


def _text(built: Any) -> str:
    return json.dumps(built, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, text in dashboards().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
