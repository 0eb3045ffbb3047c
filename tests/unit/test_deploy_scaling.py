"""deploy/keda and deploy/prometheus name what exists: metrics, streams, durables, groups."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from consumers.registry import GROUPS
from events.streams import DURABLES
from zeitwork import metrics

DEPLOY = Path(__file__).parents[2] / "deploy"
OBJECTS: list[dict[str, Any]] = [
    each
    for path in sorted((DEPLOY / "keda").glob("*.yaml"))
    for each in yaml.safe_load_all(path.read_text())
]
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
NAMES = {
    name
    for family in metrics.REGISTRY.collect()
    for name in (
        [f"{family.name}_total"]
        if family.type == "counter"
        else [f"{family.name}_count", f"{family.name}_sum", f"{family.name}_bucket"]
        if family.type == "histogram"
        else [family.name]
    )
}


def test_each_group_has_a_scaled_object() -> None:
    names = [each["metadata"]["name"] for each in OBJECTS]
    assert len(set(names)) == len(names)
    assert set(names) >= {f"zeitwork-consumers-{group}" for group in GROUPS}
    assert all(
        each["spec"]["scaleTargetRef"]["name"] == each["metadata"]["name"] for each in OBJECTS
    )


def test_each_durable_is_scaled_by_one_object() -> None:
    scaled = [
        trigger["metadata"]["consumer"] for each in OBJECTS for trigger in each["spec"]["triggers"]
    ]
    assert sorted(scaled) == sorted(one.name for one in DURABLES)


@pytest.mark.parametrize("each", OBJECTS, ids=lambda each: each["metadata"]["name"])
def test_a_scaled_object_asks_for_a_durable_that_exists(each: dict[str, Any]) -> None:
    assert (each["apiVersion"], each["kind"]) == ("keda.sh/v1alpha1", "ScaledObject")
    spec = each["spec"]
    assert 1 <= spec["minReplicaCount"] <= spec["maxReplicaCount"]
    assert spec["triggers"]
    for trigger in spec["triggers"]:
        said = trigger["metadata"]
        assert trigger["type"] == "nats-jetstream"
        assert set(said) == {
            "natsServerMonitoringEndpoint", "account", "stream", "consumer",
            "lagThreshold", "activationLagThreshold",
        }  # fmt: skip
        assert all(isinstance(value, str) for value in said.values()), "KEDA takes strings only"
        assert (said["stream"], said["consumer"]) in {(one.stream, one.name) for one in DURABLES}
        assert int(said["lagThreshold"]) > 0


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_metrics_and_durables_that_exist(rule: dict[str, Any]) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    named = set(re.findall(r"\bzeitwork_\w+", rule["expr"]))
    assert named
    assert named <= NAMES
    durables = set(re.findall(r'durable!?="([^"]+)"', rule["expr"]))
    assert durables <= {one.name for one in DURABLES}
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert set(rule["annotations"]) == {"summary", "action"}
    assert rule["expr"].count("(") == rule["expr"].count(")")


def test_each_alert_has_series_for_which_it_fires_and_others_for_which_it_does_not() -> None:
    """`promtool` runs them, where there is one: tests/integration/test_alert_rules.py."""
    scenes = yaml.safe_load((DEPLOY / "prometheus" / "alerts_test.yaml").read_text())["tests"]
    cases = [
        (case["alertname"], bool(case.get("exp_alerts")))
        for scene in scenes
        for case in scene["alert_rule_test"]
    ]
    alerts = {rule["alert"] for rule in RULES}
    assert {name for name, fires in cases if fires} == alerts
    assert {name for name, fires in cases if not fires} == alerts


def test_what_has_to_be_watched_is() -> None:
    watched = {name for rule in RULES for name in re.findall(r"\bzeitwork_\w+", rule["expr"])}
    assert watched >= {
        "zeitwork_api_request_seconds_count",
        "zeitwork_dead_letters_open",
        "zeitwork_outbox_depth",
        "zeitwork_outbox_oldest_age_seconds",
        "zeitwork_queue_ack_pending",
        "zeitwork_queue_oldest_age_seconds",
        "zeitwork_queue_pending",
        "zeitwork_ready",
        "zeitwork_topology_restored_total",
    }
