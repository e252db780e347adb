"""Rules by promtool, dashboards by a PromQL parser, runbooks by their links."""

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import promql_parser
import pytest
import yaml
from tests.integration.deploy.test_kubernetes import KUBERNETES, pod, render

ROOT = Path(__file__).resolve().parents[3]
MONITORING = ROOT / "deploy/monitoring"
needs_promtool = pytest.mark.skipif(
    not shutil.which("promtool"), reason="promtool is not installed (package prometheus)"
)


def rules() -> list[dict[str, object]]:
    files = sorted((MONITORING / "rules").glob("*.yml"))
    return [r for f in files for g in yaml.safe_load(f.read_text())["groups"] for r in g["rules"]]


def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dashboards", MONITORING / "dashboards/build.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@needs_promtool
@pytest.mark.parametrize("arguments", [["check", "config", "prometheus.yml"], ["test", "rules", "rules_test.yml"]])
def test_promtool_accepts(arguments: list[str]) -> None:
    done = subprocess.run(["promtool", *arguments], cwd=MONITORING, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_runbook_that_exists_and_a_test_that_fires_it() -> None:
    tests = (MONITORING / "rules_test.yml").read_text()
    alerts = [r for r in rules() if "alert" in r]
    assert alerts
    for alert in alerts:
        annotations = alert["annotations"]
        assert isinstance(annotations, dict)
        page = ROOT / annotations["runbook_url"]
        assert page.read_text().startswith(f"# {alert['alert']}")
        assert f"- name: {alert['alert']} fires" in tests
        assert f"({page.name})" in (page.parent / "README.md").read_text()


def test_the_operators_rules_are_those_of_the_files() -> None:
    made = yaml.safe_load((MONITORING / "prometheusrule.yaml").read_text())
    files = sorted((MONITORING / "rules").glob("*.yml"))
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    assert made["spec"]["groups"] == groups, "run deploy/monitoring/build_rules.py"


def test_the_dashboards_are_what_the_builder_writes() -> None:
    for name, content in builder().dashboards().items():
        assert json.loads((MONITORING / "dashboards" / name).read_text()) == content


def test_every_expression_is_promql() -> None:
    expressions = [str(r["expr"]) for r in rules()]
    for path in sorted((MONITORING / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            expressions += [t["expr"] for t in panel["targets"]]
    for expression in expressions:
        promql_parser.parse(expression.replace("$__rate_interval", "1m").replace("$search", ".*"))


def exported_metrics() -> set[str]:
    """Names in the services' source: what they may export."""
    found = set()
    sources = [*ROOT.glob("services/*/*/metrics.py"), *ROOT.glob("sdk/quintain/service/*.py")]
    for source in sources:
        for kind, name in re.findall(r"(Counter|Gauge|Histogram)\(\s*\"(quintain_\w+)\"", source.read_text()):
            endings = {"Counter": ["_total"], "Gauge": [""], "Histogram": ["_bucket", "_count", "_sum"]}[kind]
            found |= {name + ending for ending in endings}
    return found


def test_rules_and_dashboards_use_metrics_that_exist() -> None:
    recorded = {str(r["record"]) for r in rules() if "record" in r}
    texts = [str(r["expr"]) for r in rules()]
    texts += [p.read_text() for p in (MONITORING / "dashboards").glob("*.json")]
    used = {name for text in texts for name in re.findall(r"(?<![\w:\-])quintain_[a-z_]+(?![\w:])", text)}
    assert used
    assert used - exported_metrics() - recorded == set()


def test_in_a_cluster_every_pod_is_found_under_the_labels_that_the_rules_use() -> None:
    """Debian's promtool is built without discovery, so this does what Prometheus would do with the file."""
    config = yaml.safe_load((MONITORING / "prometheus-kubernetes.yml").read_text())
    assert [str(MONITORING / pattern) for pattern in config["rule_files"]] == [str(MONITORING / "rules/*.yml")]
    (job,) = config["scrape_configs"]
    assert job["job_name"] == "quintain"
    keep, name = job["relabel_configs"][:2]
    assert (keep["action"], name["target_label"]) == ("keep", "service")
    found = []
    for deployment in yaml.safe_load_all(render(KUBERNETES / "overlays/production")):
        if deployment["kind"] != "Deployment":
            continue
        assert job["kubernetes_sd_configs"][0]["namespaces"]["names"] == [deployment["metadata"]["namespace"]]
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        for port in pod(deployment)["containers"][0]["ports"]:
            if re.fullmatch(keep["regex"], f"{labels['app.kubernetes.io/part-of']};{port['name']}"):
                found.append((re.fullmatch(name["regex"], labels["app.kubernetes.io/name"])[1], port["containerPort"]))  # type: ignore[index]
    assert sorted(found) == [("controller", 9070), ("generator", 9072), ("verifier", 9071)]
