"""Check ``deploy/monitoring/``: alerts, their tests, their runbook and Grafana's dashboards agree with the code."""

from __future__ import annotations

import json
import random
import re
import runpy
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fedward.metrics.catalogue import CATALOGUE
from fedward.validation.comparison.sites import (
    LEAST_SD,
    LEAST_SITES,
    LIMIT_SD,
    RECENT_S,
    SiteComparison,
    SiteValue,
    compare_sites,
)
from tests.support.packages import needs

NAME = re.compile(r"\b(?:\w+:)?fedward_\w+(?::\w+)?")
PROMETHEUS_OWN = {"up", "scrape_duration_seconds", "ALERTS"}
UNUSED: set[str] = set()
"""Names of the catalogue that no alert and no dashboard shows, on purpose."""


@pytest.fixture
def monitoring(root: Path) -> Path:
    return root / "deploy" / "monitoring"


def rules(monitoring: Path) -> list[dict[str, Any]]:
    files = [yaml.safe_load(file.read_text("utf-8")) for file in sorted((monitoring / "alerts").glob("*.yml"))]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def alerts(monitoring: Path) -> list[dict[str, Any]]:
    return [rule for rule in rules(monitoring) if "alert" in rule]


def panels(monitoring: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for file in sorted((monitoring / "dashboards").glob("*.json")):
        for panel in json.loads(file.read_text("utf-8"))["panels"]:
            yield file.stem, panel


def expressions(monitoring: Path) -> list[str]:
    """Every PromQL expression: of rules, of panels, of variables, and what annotations query."""
    told = [rule["expr"] for rule in rules(monitoring)]
    told += [text for rule in alerts(monitoring) for text in rule["annotations"].values() if "query" in text]
    told += [target["expr"] for _, panel in panels(monitoring) for target in panel.get("targets", ())]
    for file in (monitoring / "dashboards").glob("*.json"):
        told += [v["query"] for v in json.loads(file.read_text("utf-8"))["templating"]["list"] if v["type"] == "query"]
    return told


def promtool_tests(files: list[Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", "test", "rules", *files], capture_output=True, text=True, check=False)


def test_dashboards_are_what_their_code_writes(monitoring: Path) -> None:
    made = runpy.run_path(str(monitoring / "dashboards.py"))["dashboards"]()
    there = {file.name: file.read_text("utf-8") for file in (monitoring / "dashboards").iterdir()}
    assert there == made, "run `make dashboards`"
    assert runpy.run_path(str(monitoring / "dashboards.py"))["dashboards"]() == made


def test_every_panel_can_be_told_apart_and_says_what_it_means(monitoring: Path) -> None:
    numbers: dict[str, list[int]] = {}
    for name, panel in panels(monitoring):
        numbers.setdefault(name, []).append(panel["id"])
        if panel["type"] == "row":
            continue
        assert panel["description"] and panel["title"], (name, panel["id"])
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        ids = [target["refId"] for target in panel["targets"]]
        assert ids == list("ABCDEFGH"[: len(ids)]) and ids, (name, panel["title"])
    assert numbers.keys() == {"federation", "job", "site"}
    assert all(len(set(ids)) == len(ids) and 0 not in ids for ids in numbers.values())


def test_panels_fill_the_grid_and_none_lies_on_another(monitoring: Path) -> None:
    taken: dict[str, set[tuple[int, int]]] = {}
    for name, panel in panels(monitoring):
        at = panel["gridPos"]
        cells = {(at["x"] + dx, at["y"] + dy) for dx in range(at["w"]) for dy in range(at["h"])}
        assert not taken.setdefault(name, set()) & cells, (name, panel["title"])
        taken[name] |= cells
    for name, cells in taken.items():
        assert len(cells) == 24 * (1 + max(y for _, y in cells)), name


def test_every_name_is_one_that_is_served_and_every_one_that_is_served_is_used(monitoring: Path) -> None:
    catalogue = {metric.name for metric in CATALOGUE}
    recorded = {rule["record"] for rule in rules(monitoring) if "record" in rule}
    used = {name for expr in expressions(monitoring) for name in NAME.findall(expr)}
    assert used <= catalogue | recorded
    assert catalogue - used == UNUSED
    assert recorded <= used


def test_selectors_use_labels_that_the_metric_has(monitoring: Path) -> None:
    labels = {metric.name: {*metric.labels} for metric in CATALOGUE}
    for expr in expressions(monitoring):
        for name, selector in re.findall(r"\b(fedward_\w+)\{([^}]*)\}", expr):
            assert set(re.findall(r"(\w+)\s*=", selector)) <= labels[name], expr


def test_every_alert_says_what_how_bad_and_where_to_read_on(monitoring: Path) -> None:
    for rule in alerts(monitoring):
        assert rule["labels"]["severity"] in ("warning", "critical"), rule["alert"]
        told = rule["annotations"]
        assert told.keys() == {"summary", "description", "runbook_url"}
        assert "$value" in told["description"] or rule["alert"] in ("ServiceDown", "JobFailed"), rule["alert"]
        assert told["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"


def test_every_alert_has_a_heading_in_the_runbook_and_back(root: Path, monitoring: Path) -> None:
    text = (root / "docs" / "runbook.md").read_text("utf-8")
    sections = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", text, flags=re.DOTALL | re.MULTILINE))
    severities: dict[str, set[str]] = {}
    for rule in alerts(monitoring):
        severities.setdefault(rule["alert"], set()).add(rule["labels"]["severity"])
    assert sections.keys() == severities.keys()
    for alert, section in sections.items():
        assert "**First:**" in section or "**Do:**" in section, alert
        assert re.search(r"\*\*(Call|Do not)\*\*", section), alert
        said = {word.lower() for word in re.findall(r"\*\*(warning|critical)\.?\*\*", section, flags=re.IGNORECASE)}
        assert said == severities[alert], alert


def test_monitoring_page_names_every_alert_by_severity(root: Path, monitoring: Path) -> None:
    text = (root / "docs" / "monitoring.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| (warning|critical) \| [^|]+ \| ([^|]+) \|$", text, flags=re.MULTILINE))
    for severity in ("warning", "critical"):
        named = set(re.findall(r"\b(?:[A-Z][a-z]+){2,}\b", rows[severity]))
        assert named == {rule["alert"] for rule in alerts(monitoring) if rule["labels"]["severity"] == severity}


def test_every_alert_has_a_test_where_it_fires_and_one_where_it_does_not(monitoring: Path) -> None:
    names = {rule["alert"] for rule in alerts(monitoring)}
    assert {file.stem for file in (monitoring / "tests").iterdir()} == names
    for file in (monitoring / "tests").iterdir():
        cases = [one for test in yaml.safe_load(file.read_text("utf-8"))["tests"] for one in test["alert_rule_test"]]
        assert {case["alertname"] for case in cases} == {file.stem}
        assert {bool(case["exp_alerts"]) for case in cases} == {True, False}, file.name
        severities = {told["exp_labels"]["severity"] for case in cases for told in case["exp_alerts"]}
        assert severities == {r["labels"]["severity"] for r in alerts(monitoring) if r["alert"] == file.stem}


RECENT = " and on (site, fl_job) (time() - fedward_reported_timestamp_seconds <= 900)"
INTERVAL = "unless site_job:fedward_score:high >= site_job:fedward_score:others_mean"
LIMIT = "site_job:fedward_score:others_mean - 2 * site_job:fedward_score:others_sd"
OF_ALL = "{0} without (site) (site_job:fedward_score:recent)"
USUAL = f"ignoring (site) group_left () ({OF_ALL.format('avg')} - 2 * {OF_ALL.format('stddev')})"
"""Two SD below the mean of all, which five hospitals cannot reach: z is bounded by sqrt(n - 1)."""


@pytest.mark.parametrize(
    ("alert", "file", "before", "after"),
    [
        ("SiteUnseen", "sites.yml", "600\n", "700\n"),
        ("NoSiteSeen", "sites.yml", "max without (site) ", "min without (site) "),
        ("CertificateEnds", "sites.yml", "< 30 >= 7", "< 30"),
        ("EpsilonNearlySpent", "sites.yml", "< 0.1", "<= 0.1"),
        ("SuspectUpdate", "sites.yml", " < 86400)", " < 8640000)"),
        ("JobFailed", "jobs.yml", "fedward_job_failed == 1 and", "fedward_job_failed == 1 or"),
        ("JobStalled", "jobs.yml", "and on (fl_job) fedward_job_running == 1", ""),
        ("JobInterrupted", "jobs.yml", " or fedward_job_paused == 1", ""),
        ("JobInterrupted", "jobs.yml", "for: 10m", "for: 1m"),
        ("SiteDropped", "jobs.yml", " or fedward_rounds_dropped_total * 0", ""),
        ("SiteDropped", "jobs.yml", "and on (fl_job) (time() - fedward_job_updated_timestamp_seconds < 3600)", ""),
        ("RoundDropsSites", "jobs.yml", "> 0) >= 2)", "> 0))"),
        ("RoundDropsSites", "jobs.yml", ">= 0.5", ">= 0.3"),
        ("ServiceDown", "service.yml", 'up{job="fedward"}', "up"),
        ("ScrapeSlow", "service.yml", "for: 10m", "for: 1m"),
        ("SiteBelowTheOthers", "scores.yml", LIMIT, USUAL),
        ("SiteBelowTheOthers", "scores.yml", RECENT, ""),
        ("SiteBelowTheOthers", "scores.yml", ">= 3) - 1", ">= 2) - 1"),
        ("SiteBelowTheOthers", "scores.yml", INTERVAL, ""),
        ("SiteBelowTheOthers", "scores.yml", "0.0001\n", "0.0\n"),
    ],
)
def test_each_test_finds_its_rule_spoilt(
    monitoring: Path, tmp_path: Path, alert: str, file: str, before: str, after: str
) -> None:
    needs("prometheus")
    copy = Path(shutil.copytree(monitoring, tmp_path / "monitoring"))
    text = (copy / "alerts" / file).read_text("utf-8")
    assert before in text
    test = copy / "tests" / f"{alert}.yml"
    assert promtool_tests([test]).returncode == 0
    (copy / "alerts" / file).write_text(text.replace(before, after), encoding="utf-8")
    done = promtool_tests([test])
    assert done.returncode == 1 and "FAILED" in done.stdout + done.stderr


def _on_the_edge(one: SiteValue, standing: SiteComparison) -> bool:
    """True if rounding decides: a value as large as its limit, or an interval that ends at the others' mean."""
    pairs = ((one.value, standing.limit), (one.high, standing.others_mean))
    return any(a is not None and b is not None and abs(a - b) < 1e-9 for a, b in pairs)


def test_rule_for_prometheus_is_the_rule_of_the_dashboard(monitoring: Path, tmp_path: Path) -> None:
    """Two hundred made-up jobs: Prometheus flags whom ``compare_sites`` flags."""
    needs("prometheus")
    text = (monitoring / "alerts" / "scores.yml").read_text("utf-8")
    assert f"<= {RECENT_S:.0f})" in text and f">= {LEAST_SITES})" in text
    assert f"- {LIMIT_SD:.0f} * " in text and f"{LEAST_SD**2:.4f}" in text
    rng = random.Random(3)
    series, expected, now = [], [], 1800
    for job in range(200):
        values = []
        for number in range(rng.randint(2, 7)):
            value = round(min(0.99, max(0.1, rng.gauss(0.85, rng.choice((0.005, 0.03, 0.15))))), 4)
            high = round(value + rng.uniform(0.005, 0.1), 4) if rng.random() < 0.7 else None
            values.append(SiteValue(f"site-{number}", value, high and value - 0.01, high, rng.choice((0, 900, 1700))))
        standings = compare_sites(values, now=now)
        if any(_on_the_edge(one, standings[one.site]) for one in values):
            continue  # Prometheus adds in another order, so the last bit differs each time
        for one in values:
            labels = f'{{site="{one.site}",fl_job="{job}",job_name="made-up"}}'
            series.append({"series": f"fedward_auc_ratio{labels}", "values": f"{one.value}x30"})
            series.append({"series": f"fedward_reported_timestamp_seconds{labels}", "values": f"{one.reported_at}x30"})
            if one.high is not None:
                series.append({"series": f"fedward_auc_high_ratio{labels}", "values": f"{one.high}x30"})
        flagged = [site for site, standing in standings.items() if standing.flagged]
        expected += [f'{{site="{site}",fl_job="{job}"}}' for site in flagged]
    assert len(expected) > 30
    (rule,) = (rule for rule in alerts(monitoring) if rule["alert"] == "SiteBelowTheOthers")
    found = {
        "expr": f"sum by (site, fl_job) (({rule['expr'].strip()}) * 0 + 1)",
        "eval_time": "30m",
        "exp_samples": [{"labels": labels, "value": 1} for labels in expected],
    }
    rule_file = str((monitoring / "alerts" / "scores.yml").resolve())
    case = {"interval": "1m", "input_series": series, "promql_expr_test": [found]}
    made = tmp_path / "made.yml"
    made.write_text(json.dumps({"rule_files": [rule_file], "evaluation_interval": "1m", "tests": [case]}), "utf-8")
    done = promtool_tests([made])
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_scrapes_the_service_where_it_listens(monitoring: Path) -> None:
    config = yaml.safe_load((monitoring / "prometheus.yml").read_text("utf-8"))
    (scrape,) = config["scrape_configs"]
    assert scrape == {"job_name": "fedward", "static_configs": [{"targets": ["127.0.0.1:8600"]}]}
    for rule in alerts(monitoring):
        for name in re.findall(r'job="(\w+)"', rule["expr"]):
            assert name == scrape["job_name"]


def test_alertmanager_holds_back_alerts_that_there_are(monitoring: Path) -> None:
    config = yaml.safe_load((monitoring / "alertmanager.yml").read_text("utf-8"))
    matchers = [
        m for rule in config["inhibit_rules"] for side in ("source", "target") for m in rule[f"{side}_matchers"]
    ]
    assert {m.split("=")[1].strip('"') for m in matchers} <= {rule["alert"] for rule in alerts(monitoring)}


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [("severity=critical", "on-call"), ("severity=warning", "operator"), ("site=north", "operator")],
)
def test_alertmanager_writes_to_the_right_person(monitoring: Path, labels: str, receiver: str) -> None:
    needs("prometheus-alertmanager")
    command = ["amtool", "config", "routes", "test", f"--config.file={monitoring / 'alertmanager.yml'}", labels]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == receiver


def test_dashboard_unit_sees_no_key_and_calls_nobody(root: Path) -> None:
    text = (root / "deploy/systemd/fedward-dashboard@.service").read_text("utf-8")
    kit = "/opt/fedward/kits/%i"
    hidden = " ".join(re.findall(r"^InaccessiblePaths=(.*)$", text, flags=re.MULTILINE)).split()
    assert {f"-{kit}/{name}" for name in ("startup", "local", "storage")} <= set(hidden)
    assert re.findall(r"^ReadWritePaths=(.*)$", text, flags=re.MULTILINE) == [kit]
    assert "IPAddressDeny=any\nIPAddressAllow=localhost\n" in text
    assert f"ExecStart=/usr/bin/env fedward dashboard {kit}/metrics.db\n" in text
