"""What docker/prometheus and docker/grafana ask of a server."""

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from shrota_testing.repository import ROOT

PROMETHEUS = ROOT / "docker" / "prometheus"
RULES = PROMETHEUS / "rules" / "shrota.yml"
DASHBOARD = ROOT / "docker" / "grafana" / "dashboards" / "shrota.json"
GPU_METRICS = frozenset(
    {
        "nv_energy_consumption",
        "nv_gpu_memory_total_bytes",
        "nv_gpu_memory_used_bytes",
        "nv_gpu_power_limit",
        "nv_gpu_power_usage",
        "nv_gpu_utilization",
    }
)
"""As Triton documents them (docs/user_guide/metrics.md, "GPU Metrics"): a server without a GPU has none of them."""


@dataclass(frozen=True)
class Query:
    """One query, and whose it is."""

    owner: str
    expression: str


@cache
def rules() -> list[dict[str, Any]]:
    """All rules, records first."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


@cache
def dashboard() -> dict[str, Any]:
    """The dashboard."""
    found: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return found


def panels() -> list[dict[str, Any]]:
    """The panels that show something; rows do not."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def rule_queries() -> list[Query]:
    """What the rules ask."""
    return [Query(rule.get("alert") or rule["record"], rule["expr"]) for rule in rules()]


def dashboard_queries() -> list[Query]:
    """What the dashboard asks."""
    return [Query(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]


def records() -> set[str]:
    """Names that the rules give to what they compute."""
    return {rule["record"] for rule in rules() if "record" in rule}
