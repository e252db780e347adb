"""Writes the Grafana dashboards: `python deploy/monitoring/dashboards/build.py`. A test holds the JSON against this."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, HEIGHT = 8, 8


def panel(title: str, unit: str, *queries: tuple[str, str], kind: str = "timeseries") -> dict[str, Any]:
    """`queries`: (expression, legend)."""
    return {
        "title": title,
        "type": kind,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(65 + number), "datasource": SOURCE, "expr": expression, "legendFormat": legend}
            for number, (expression, legend) in enumerate(queries)
        ],
    }


def quantiles(metric: str, by: str = "") -> list[tuple[str, str]]:
    labels = f"{by}, le" if by else "le"
    legend = f" {{{{{by}}}}}" if by else ""
    rate = f"sum by ({labels}) (rate({metric}_bucket[$__rate_interval]))"
    return [(f"histogram_quantile({q}, {rate})", f"p{round(q * 100)}{legend}") for q in (0.5, 0.99)]


OPERATORS = [
    panel(
        "Services up and ready",
        "none",
        ('sum by (service) (up{job="quintain"})', "{{service}} up"),
        ("sum by (service) (quintain_ready)", "{{service}} ready"),
        kind="stat",
    ),
    panel(
        "Rpcs by method",
        "reqps",
        ("sum by (service, method) (rate(quintain_rpc_handled_total[$__rate_interval]))", "{{service}} {{method}}"),
    ),
    panel(
        "Rpcs by code",
        "reqps",
        ("sum by (service, code) (rate(quintain_rpc_handled_total[$__rate_interval]))", "{{service}} {{code}}"),
    ),
    panel("Rpc duration", "s", *quantiles("quintain_rpc_duration_seconds", "method")),
    panel("Rpcs in flight", "none", ("sum by (service, method) (quintain_rpc_in_flight)", "{{service}} {{method}}")),
    panel(
        "Verifier: workers",
        "none",
        ("sum(quintain_verifier_slots_busy_workers)", "busy"),
        ("sum(quintain_verifier_slots_total_workers)", "all"),
    ),
    panel("Verifier: requests that wait", "none", ("sum(quintain_verifier_queue_depth_requests)", "waiting")),
    panel("Verifier: wait for a worker", "s", *quantiles("quintain_verifier_queue_wait_seconds")),
    panel("Verifier: time of a run", "s", *quantiles("quintain_verifier_run_duration_seconds", "simulator")),
    panel(
        "Verifier: verdicts",
        "reqps",
        ("sum by (status) (rate(quintain_verifier_verdicts_total[$__rate_interval]))", "{{status}}"),
    ),
    panel(
        "Verifier: where answers come from",
        "reqps",
        ("sum by (source) (rate(quintain_verifier_answers_total[$__rate_interval]))", "{{source}}"),
    ),
    panel(
        "Verifier: policies that did not live to the end",
        "reqps",
        ("sum by (reason) (rate(quintain_verifier_policy_kills_total[$__rate_interval]))", "{{reason}}"),
    ),
    panel(
        "Verifier: layers of the jail",
        "none",
        ("min by (layer) (quintain_verifier_jail_layer_active)", "{{layer}}"),
    ),
    panel(
        "Generator: calls by outcome",
        "reqps",
        (
            "sum by (backend, outcome) (rate(quintain_generator_calls_total[$__rate_interval]))",
            "{{backend}} {{outcome}}",
        ),
    ),
    panel("Generator: time of a call", "s", *quantiles("quintain_generator_call_duration_seconds", "backend")),
    panel("Generator: open breakers", "none", ("max by (backend) (quintain_generator_breaker_open)", "{{backend}}")),
    panel("Controller: searches", "none", ("max by (state) (quintain_controller_searches)", "{{state}}")),
    panel("Controller: store transactions", "s", *quantiles("quintain_controller_store_seconds")),
]

SEARCH = [
    panel(
        "Best score (0 worst, 1 bound)",
        "percentunit",
        ('max by (search) (quintain_controller_best_normalized{search=~"$search"})', "{{search}}"),
    ),
    panel(
        "Train ahead of held-out",
        "percentunit",
        ('max by (search) (quintain_controller_held_out_gap{search=~"$search"})', "{{search}}"),
    ),
    panel(
        "Budget left",
        "percentunit",
        ('min by (search, bound) (quintain_controller_budget_left_ratio{search=~"$search"})', "{{search}} {{bound}}"),
    ),
    panel(
        "Candidates by outcome",
        "reqps",
        ("sum by (outcome) (rate(quintain_controller_candidates_total[$__rate_interval]))", "{{outcome}}"),
    ),
    panel("Dollars spent", "currencyUSD", ("sum by (backend) (quintain_generator_cost_usd_total)", "{{backend}}")),
    panel(
        "Tokens",
        "short",
        ("sum by (backend, kind) (rate(quintain_generator_tokens_total[$__rate_interval]))", "{{backend}} {{kind}}"),
    ),
    panel("Work in each stage", "none", ("sum by (stage) (quintain_controller_stage_in_flight)", "{{stage}}")),
    panel("Time in each stage", "s", *quantiles("quintain_controller_stage_seconds", "stage")),
]


def dashboard(uid: str, title: str, panels: list[dict[str, Any]], variables: list[dict[str, Any]]) -> dict[str, Any]:
    columns = 24 // WIDTH
    for number, each in enumerate(panels):
        x, y = number % columns * WIDTH, number // columns * HEIGHT
        each |= {"id": number + 1, "gridPos": {"x": x, "y": y, "w": WIDTH, "h": HEIGHT}}
    source = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    return {
        "uid": uid,
        "title": title,
        "schemaVersion": 39,
        "tags": ["quintain"],
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "10s",
        "templating": {"list": [source, *variables]},
        "panels": panels,
    }


def dashboards() -> dict[str, dict[str, Any]]:
    search = {
        "name": "search",
        "type": "query",
        "datasource": SOURCE,
        "query": "label_values(quintain_controller_best_normalized, search)",
        "includeAll": True,
        "multi": True,
        "refresh": 2,
    }
    return {
        "operators.json": dashboard("quintain-operators", "quintain: operators", OPERATORS, []),
        "search.json": dashboard("quintain-search", "quintain: a search", SEARCH, [search]),
    }


if __name__ == "__main__":
    for name, content in dashboards().items():
        (HERE / name).write_text(json.dumps(content, indent=1) + "\n")
