"""That the dashboard and the alerts ask for what is there, and the docs tell of it; `make ops-check` asks Prometheus."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from prometheus_client import REGISTRY, Counter, Gauge

from tests.offenders import assert_none
from worker import metrics
from worker.metrics import Histogram

REPOSITORY: Final = Path(__file__).resolve().parents[2]
OPS: Final = REPOSITORY / "ops"
DASHBOARD: Final = json.loads((OPS / "grafana" / "lockstep.json").read_text(encoding="utf-8"))
RULES: Final = [
    rule
    for group in yaml.safe_load((OPS / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
QUERIES: Final = [
    *(target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]),
    *(rule["expr"] for rule in RULES),
]
SELECTOR: Final = re.compile(r"\b((?:lockstep|process)_\w+|up)\b(?:\{([^}]*)\})?")
OF_PROMETHEUS: Final = frozenset({"job", "instance", "le"})


def told() -> dict[str, frozenset[str]]:
    """Each series that we tell, and its labels."""
    series: dict[str, frozenset[str]] = {"up": frozenset()}
    for one in vars(metrics).values():
        if isinstance(one, Histogram):
            series |= {f"{one.name}_{end}": frozenset(one.labels) for end in ("bucket", "sum", "count")}
        elif isinstance(one, (Counter, Gauge)):
            (family,) = one.collect()
            name = f"{family.name}_total" if isinstance(one, Counter) else family.name
            series[name] = frozenset(one._labelnames)
    others = {sample.name for family in REGISTRY.collect() for sample in family.samples}
    return series | {name: frozenset() for name in others if name.startswith("process_")}


OURS: Final = [
    f"{family.name}_total" if family.type == "counter" else family.name
    for family in REGISTRY.collect()
    if family.name.startswith("lockstep_")
]


def test_a_query_asks_for_series_and_labels_that_are_there() -> None:
    assert QUERIES
    series = told()
    assert_none(f"{query}: {fault}" for query in QUERIES for fault in faults_of_query(query, series))


def faults_of_query(query: str, series: Mapping[str, frozenset[str]]) -> Iterator[str]:
    known = OF_PROMETHEUS
    found = SELECTOR.findall(query)
    if not found:
        yield "it asks for no series that we know"
    for name, selector in found:
        if name not in series:
            yield f"there is no series {name}"
        labels = series.get(name, frozenset()) | OF_PROMETHEUS
        known |= labels
        if unknown := set(re.findall(r"(\w+)\s*[=!]~?", selector)) - labels:
            yield f"{name} has no labels {sorted(unknown)}"
    for grouped in re.findall(r"by \(([^)]*)\)", query):
        if unknown := set(re.split(r",\s*", grouped)) - known:
            yield f"no series of it has the labels {sorted(unknown)}"


def test_the_dashboard_shows_what_the_alerts_are_about() -> None:
    shown = {
        name
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
        for name, _ in SELECTOR.findall(target["expr"])
    }
    assert {name for rule in RULES for name, _ in SELECTOR.findall(rule["expr"])} <= shown


def test_each_histogram_of_the_dashboard_is_asked_for_with_its_buckets() -> None:
    quantiles = [query for query in QUERIES if "histogram_quantile" in query]
    assert quantiles
    assert all("_bucket" in query and "le" in query for query in quantiles)


def test_panels_have_their_own_numbers_and_do_not_cover_each_other() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place: dict[str, Any] = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_grafana_finds_the_data_and_the_dashboard_where_compose_puts_them() -> None:
    compose = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8"))
    provisioning = OPS / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "lockstep.yml").read_text())["providers"]
    mounts = dict(volume.split(":")[:2] for volume in compose["services"]["grafana"]["volumes"])
    for folder in mounts:
        assert (REPOSITORY / folder).exists()
    assert f"{provider['options']['path']}/lockstep.json" in mounts.values()
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {source["uid"]}
    assert source["url"] == "http://prometheus:9090"


def test_prometheus_asks_workers_and_web_where_compose_has_them_answer() -> None:
    compose = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8"))
    scrapes = yaml.safe_load((OPS / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    worker, web = ({**scrape, **scrape["dns_sd_configs"][0]} for scrape in scrapes)
    environment = compose["services"]["worker"]["environment"]
    assert (worker["names"], web["names"]) == (["worker"], ["web"])
    assert str(worker["port"]) == environment["LOCKSTEP_METRICS_PORT"]
    assert compose["services"]["web"]["ports"][0].endswith(f":{web['port']}")
    ignored = (REPOSITORY / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert f"ops/prometheus/{web['authorization']['credentials_file']}" in ignored
    assert environment["LOCKSTEP_METRICS_HOST"] == "0.0.0.0"
    assert f'up{{job="{worker["job_name"]}"}}' in str(QUERIES)


def test_every_alert_is_tried() -> None:
    tried = yaml.safe_load((OPS / "prometheus" / "alerts_test.yml").read_text())["tests"]
    fired = {case["alertname"] for test in tried for case in test["alert_rule_test"] if case["exp_alerts"]}
    assert fired == {rule["alert"] for rule in RULES}


def test_the_docs_tell_every_metric() -> None:
    assert OURS
    docs = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    assert_none(f"{name} has no row" for name in OURS if f"| `{name}` |" not in docs)


def test_the_docs_tell_every_alert() -> None:
    assert RULES
    docs = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    assert_none(f"{rule['alert']} has no row" for rule in RULES if f"| `{rule['alert']}` |" not in docs)
