"""The profile `observability`: Prometheus reads the store, dashboard and rules ask for what exists.

Prometheus is Debian's; Grafana and the collector can't be had here, so of theirs only the files are
checked.
"""

from __future__ import annotations

import json
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.bundle import docker, stacks
from tests.serving import ServedStore

pytestmark = pytest.mark.timeout(900)

FOLDER = docker.ROOT / "compose" / "observability"
PROMETHEUS = "oversight-test/prometheus:bookworm"
_NAME = re.compile(r"\b(?:minio|oversight)_[a-z0-9_]+\b")


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "grafana/dashboards/store.json").read_text())
    return found


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"]
    return list(group["rules"])


def queries() -> list[str]:
    panels = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    return [*panels, *(rule["expr"] for rule in rules())]


def test_dashboard_and_rules_ask_for_metrics_that_the_store_has(tmp_path: Path) -> None:
    environment = {"OVERSIGHT_PROMETHEUS_AUTH_TYPE": "public"}
    with ServedStore(tmp_path / "data", tmp_path / "log", environment=environment) as store:
        page = ""
        for which in ("cluster", "bucket", "node"):
            with urllib.request.urlopen(f"{store.endpoint}/minio/v2/metrics/{which}") as answer:
                page += answer.read().decode()
    existing = set(re.findall(r"^# TYPE (\S+)", page, re.M))
    asked = {name for query in queries() for name in _NAME.findall(query)}
    assert len(asked) > 15
    assert {re.sub(r"_bucket$", "", name) for name in asked} <= existing


def test_panels_have_ids_of_their_own_and_a_source_that_is_provisioned() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    source = yaml.safe_load((FOLDER / "grafana/datasources/prometheus.yml").read_text())
    (uid,) = (each["uid"] for each in source["datasources"])
    assert {panel["datasource"]["uid"] for panel in panels} == {uid}


def test_the_collectors_pipelines_use_what_is_configured() -> None:
    config = yaml.safe_load((FOLDER / "otel-collector.yml").read_text())
    for pipeline in config["service"]["pipelines"].values():
        assert (
            set(pipeline["receivers"]) <= config["receivers"].keys() | config["connectors"].keys()
        )
        assert set(pipeline["processors"]) <= config["processors"].keys()
        assert (
            set(pipeline["exporters"]) <= config["exporters"].keys() | config["connectors"].keys()
        )
    scraped = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    (job,) = (each for each in scraped if each["job_name"] == "otel-collector")
    port = config["exporters"]["prometheus"]["endpoint"].rpartition(":")[2]
    assert job["static_configs"] == [{"targets": [f"otel-collector:{port}"]}]


@pytest.fixture(scope="module")
def stack(
    image: str, compose: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[stacks.Stack]:
    stacks.build("prometheus", PROMETHEUS)
    environ = {
        **stacks.free_ports(),
        "OVERSIGHT_IMAGE": image,
        "OVERSIGHT_BASE": docker.base(),
        "OVERSIGHT_NETWORK": docker.unique("network"),
        "OVERSIGHT_ROOT_PASSWORD": "not-the-published-one",
        "PROMETHEUS_IMAGE": PROMETHEUS,
    }
    root = stacks.copy_of_checkout(tmp_path_factory.mktemp("checkout"))
    made = stacks.Stack(compose, root, "langfuse", docker.unique("observed"), environ)
    try:
        made.run("up", "--detach", "--no-build", "prometheus")
        yield made
    finally:
        made.down("--volumes")


def ask(stack: stacks.Stack, path: str, **query: str) -> Any:
    url = f"http://127.0.0.1:{stack.environ['PROMETHEUS_PORT']}/api/v1/{path}"
    with urllib.request.urlopen(f"{url}?{urllib.parse.urlencode(query)}", timeout=60) as answer:
        return json.load(answer)["data"]


def test_prometheus_reads_the_store_with_its_token(stack: stacks.Stack) -> None:
    deadline = time.monotonic() + 300
    wanted = {"oversight", "oversight-bucket", "oversight-node"}
    while True:
        try:
            targets = ask(stack, "targets")["activeTargets"]
        except OSError:
            targets = []
        states = {each["labels"]["job"]: each["health"] for each in targets}
        if all(states.get(job) == "up" for job in wanted):
            break
        assert time.monotonic() < deadline, (targets, stack.logs())
        time.sleep(0.5)
    assert states["otel-collector"] != "up", "there is none in this test"
    (row,) = ask(stack, "query", query="minio_cluster_bucket_total")["result"]
    assert float(row["value"][1]) >= 1


def test_prometheus_understands_every_query(stack: stacks.Stack) -> None:
    for query in queries():
        ask(stack, "query", query=query.replace("$__rate_interval", "1m"))


def test_rules_are_loaded(stack: stacks.Stack) -> None:
    (group,) = ask(stack, "rules")["groups"]
    assert [rule["name"] for rule in group["rules"]] == [rule["alert"] for rule in rules()]
    assert all(rule["health"] != "err" for rule in group["rules"])
