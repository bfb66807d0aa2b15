"""A filled store, the real service, a real Prometheus: every panel has data, and those alerts fire that should."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from fedward.dashboard.background import start_background
from fedward.metrics.store import SiteSeen, Store
from tests.support.metrics_store import fill
from tests.support.packages import needs

pytestmark = pytest.mark.integration
START_S, DATA_S = 20.0, 30.0
SITES = ("north", "river", "small", "coast", "hill")
GONE = "west"
"""A hospital that was last seen an hour ago, and took part in nothing."""


@dataclass(frozen=True)
class Prometheus:
    """A running one.

    Attributes:
        url: its address.
        jobs: ids of the store's jobs.
    """

    url: str
    jobs: tuple[str, ...]

    def get(self, path: str, **query: str) -> Any:
        address = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(address, timeout=10) as answer:
            told = json.load(answer)
        assert told["status"] == "success"
        return told["data"]

    def ask(self, expr: str) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = self.get("query", query=expr)["result"]
        return result

    def rules(self) -> list[dict[str, Any]]:
        return [rule for group in self.get("rules")["groups"] for rule in group["rules"]]


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def filled(path: Path) -> tuple[str, ...]:
    """A classification with an update that is suspect, a segmentation, a job that failed, one that missed a site."""
    store = Store.open(path, create=True)
    ids = fill(store, sites=len(SITES), rounds=3, finished=False)
    ids += fill(store, sites=len(SITES), rounds=3, finished=False, task="segmentation", first=1)
    now = time.time()
    suspect = {"event": "suspect", "at": now, "site": "coast", "round": 2, "reason": "changes nothing"}
    store.write(ids[0], suspect)
    coverage = {"min_sites": 2, "must_include": [], "min_patients": None}
    started = {"job": "broken", "task": "classification", "rounds": 3, "sites": list(SITES), "coverage": coverage}
    store.write("0000broken", {"event": "started", "at": now - 60, "threshold": None, **started})
    store.write("0000broken", {"event": "failed", "at": now, "reason": "too few sites"})
    store.write("0000ending", {"event": "started", "at": now - 60, "threshold": None, **started})
    store.write("0000ending", {"event": "finished", "at": now, "missing": {GONE: "is gone"}})
    store.seen([SiteSeen(site=GONE, last_seen=now - 3600, connected=False, certificate_until=None)])
    store.close()
    return (*ids, "0000broken", "0000ending")


@contextmanager
def prometheus(folder: Path, monitoring: Path, target: str) -> Iterator[str]:
    """The repository's own settings, quicker, over an empty store; stopped on leaving."""
    config = yaml.safe_load((monitoring / "prometheus.yml").read_text("utf-8"))
    del config["alerting"]
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(monitoring / name) for name in config["rule_files"]]
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, f"--web.listen-address={address}"], stdout=log, stderr=subprocess.STDOUT, cwd=folder
        )
    try:
        until(lambda: answers(f"http://{address}/-/ready"), START_S, (folder / "log").read_text)
        yield f"http://{address}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2):
            return True
    except OSError:
        return False


def until(holds: Any, within_s: float, or_else: Any) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, or_else()
        time.sleep(0.1)


@pytest.fixture(scope="module")
def up(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    needs("prometheus")
    folder = tmp_path_factory.mktemp("monitoring")
    jobs = filled(folder / "metrics.db")
    with start_background(folder / "metrics.db") as service:
        target = service.url.removeprefix("http://")
        with prometheus(folder, root / "deploy" / "monitoring", target) as url:
            up = Prometheus(url, jobs)
            # what needs two turns: a scrape, the rules that record, the rules over these
            settled = 'count(ALERTS{alertname=~"SiteBelowTheOthers|JobFailed|SiteUnseen"}) >= 4'
            until(lambda: up.ask(settled), DATA_S, lambda: json.dumps(up.rules(), indent=1))
            yield up


def panels(root: Path) -> list[tuple[str, str, str]]:
    found = []
    for file in sorted((root / "deploy/monitoring/dashboards").glob("*.json")):
        for panel in json.loads(file.read_text("utf-8"))["panels"]:
            found += [(file.stem, panel["title"], target["expr"]) for target in panel.get("targets", ())]
    return found


def chosen(expr: str, jobs: tuple[str, ...]) -> list[str]:
    """The expression as Grafana sends it, for each value that a reader may choose."""
    made = [expr.replace("$alertname", ".*")]
    for variable, values in (("$fl_job", jobs), ("$site", SITES)):
        made = [one.replace(variable, value) for one in made for value in (values if variable in one else [""])]
    assert not any("$" in one for one in made)
    return made


def test_every_panel_has_data(root: Path, up: Prometheus) -> None:
    empty = [
        (dashboard, title, expr)
        for dashboard, title, expr in panels(root)
        if not any(up.ask(one) for one in chosen(expr, up.jobs))
    ]
    assert not empty


def test_variables_offer_what_there_is(root: Path, up: Prometheus) -> None:
    assert set(up.get("label/fl_job/values", **{"match[]": "fedward_rounds_asked"})) == set(up.jobs)
    assert set(up.get("label/site/values", **{"match[]": "fedward_site_last_seen_timestamp_seconds"})) == {*SITES, GONE}


def test_every_rule_evaluates_and_those_fire_that_should(up: Prometheus) -> None:
    rules = up.rules()
    assert len(rules) > 15
    assert {(rule["name"], rule["health"], rule.get("lastError", "")) for rule in rules} == {
        (rule["name"], "ok", "") for rule in rules
    }
    fires = {
        (alert["labels"]["alertname"], alert["labels"].get("site"), alert["state"])
        for rule in rules
        for alert in rule.get("alerts", ())
    }
    assert ("SiteBelowTheOthers", "north", "pending") in fires
    assert {site for name, site, _ in fires if name == "SiteBelowTheOthers"} == {"north"}
    assert {site for name, site, _ in fires if name == "SiteUnseen"} == {GONE}
    assert ("SuspectUpdate", "coast", "firing") in fires
    assert ("JobFailed", None, "firing") in fires
    assert ("SiteDropped", "river", "firing") in fires
    assert {site for name, site, _ in fires if name == "CertificateEnds"} == set(SITES)  # in five to nine days
    assert not {name for name, _, _ in fires} & {"ServiceDown", "NoSiteSeen", "JobStalled", "EpsilonNearlySpent"}


def test_suppressed_value_never_arrives(up: Prometheus) -> None:
    assert up.ask('fedward_validation_images{site="small"}')
    for name in (
        "fedward_auc_ratio",
        "fedward_dice_ratio",
        "fedward_validation_loss",
        "fedward_validation_positive_patients",
    ):
        assert not up.ask(f'{name}{{site="small"}}'), name
    assert up.ask("fedward_auc_ratio")


def test_prometheus_takes_the_whole_scrape(up: Prometheus) -> None:
    (target,) = up.get("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
    assert target["labels"]["job"] == "fedward"
    (taken,) = up.ask("scrape_samples_scraped")
    (kept,) = up.ask("scrape_samples_post_metric_relabeling")
    assert taken["value"][1] == kept["value"][1] and float(taken["value"][1]) > 100
