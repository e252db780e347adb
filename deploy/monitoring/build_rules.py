"""Writes prometheusrule.yaml, the rules of rules/*.yml as the Prometheus Operator wants them: run it after a change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
HEAD = "# Made from rules/*.yml by build_rules.py; change those.\n"


def prometheus_rule() -> dict[str, Any]:
    files = sorted((HERE / "rules").glob("*.yml"))
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "quintain"},
        "spec": {"groups": [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]},
    }


if __name__ == "__main__":
    text = yaml.safe_dump(prometheus_rule(), sort_keys=False, width=120)
    (HERE / "prometheusrule.yaml").write_text(HEAD + text)
