"""Every panel of the dashboards and every recording rule, on a real Prometheus that scrapes real services at work."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.services import Services, eventually

from quintain.clients.controller import Controller
from quintain.clients.verifier import Verifier
from quintain.controller.v1 import controller_pb2 as pb
from quintain.verifier.v1 import verifier_pb2

MONITORING = Path(__file__).resolve().parents[3] / "deploy/monitoring"
WINDOW = "15s"
SECONDS = 150.0  # a limit for a busy machine; it takes some 20 s

pytestmark = pytest.mark.skipif(not shutil.which("prometheus"), reason="prometheus is not installed")

ENDLESS = "while True:\n    pass\n"


class Prometheus:
    """Scrapes `services` every second with the project's rules."""

    def __init__(self, folder: Path, services: Services) -> None:
        config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(MONITORING / "rules/*.yml")]
        (job,) = config["scrape_configs"]
        for target in job["static_configs"]:
            target["targets"] = [services.metrics[target["labels"]["service"]]]
        file = folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(config))
        self.targets = services.metrics
        self._url = f"http://{services.host}:9090"
        self._log = (folder / "prometheus.log").open("wb")
        self._process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={file}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={services.host}:9090",
            ],
            stdout=self._log,
            stderr=self._log,
        )

    def ready(self) -> bool:
        assert self._process.poll() is None, Path(self._log.name).read_text()
        try:
            with urllib.request.urlopen(f"{self._url}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError):
            return False

    def values(self, expression: str) -> list[float]:
        """The values of an instant query, without those that are no number."""
        query = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"{self._url}/api/v1/query?{query}", timeout=10) as answer:
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return [v for v in (float(sample["value"][1]) for sample in result) if not math.isnan(v)]

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._log.close()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Over services that run a search, which goes on until the tests are over, after a hostile policy was verified."""
    folder = tmp_path_factory.mktemp("monitoring")
    with pytest.MonkeyPatch.context() as environment, Services(folder) as services:
        environment.setenv("QUINTAIN_CONFIG", str(folder))
        services.start()
        made = Prometheus(folder, services)
        try:
            eventually(made.ready, "prometheus is ready")
            eventually(lambda: len(made.values("up == 1")) == 3, "all services are scraped")
            spec = pb.SearchSpec(
                simulator="faas", suite="smoke", backends=["offline"], seed=1, budget=pb.Budget(wall_seconds=600)
            )
            with Controller(services.addresses["controller"]) as controller:
                search = controller.create_search(pb.CreateSearchRequest(spec=spec)).search
                with Verifier(services.addresses["verifier"]) as verifier:
                    limits = verifier_pb2.Limits(cpu_seconds=1)
                    result = verifier.verify_policy(ENDLESS, simulator="faas", suite="smoke", limits=limits)
                assert result.verdict.status == verifier_pb2.VERDICT_STATUS_POLICY_FAILED
                yield made
                controller.cancel_search(pb.CancelSearchRequest(search_id=search.search_id))
        finally:
            made.stop()


@pytest.mark.parametrize("service", ["controller", "generator", "verifier"])
def test_metrics_follow_the_conventions(prometheus: Prometheus, service: str) -> None:
    with urllib.request.urlopen(f"http://{prometheus.targets[service]}/metrics", timeout=10) as answer:
        text = answer.read()
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def panels() -> dict[str, str]:
    """Every query of every panel as Grafana would send it, by where it is."""
    found = {}
    for path in sorted((MONITORING / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                query = target["expr"].replace("$__rate_interval", WINDOW).replace("$search", ".+")
                found[f"{path.stem}: {panel['title']}: {target['refId']}"] = query
    return found


def recording_rules() -> dict[str, str]:
    text = (MONITORING / "rules/recording.yml").read_text()
    return {rule["record"]: rule["record"] for group in yaml.safe_load(text)["groups"] for rule in group["rules"]}


def test_every_panel_and_every_recorded_series_shows_numbers(prometheus: Prometheus) -> None:
    missing = panels() | recording_rules()

    def nothing_is_missing() -> bool:
        for where, query in list(missing.items()):
            if prometheus.values(query):
                del missing[where]
        return not missing

    try:
        eventually(nothing_is_missing, "numbers everywhere", SECONDS)
    except AssertionError as error:
        raise AssertionError(f"without numbers: {json.dumps(missing, indent=1)}") from error


# What the load must have moved: a panel that shows zeros for ever would pass the test above.
@pytest.mark.parametrize(
    "expression",
    [
        'increase(quintain_verifier_policy_kills_total{reason="cpu"}[5m])',
        'increase(quintain_verifier_verdicts_total{simulator="faas",status="policy_failed"}[5m])',
        'increase(quintain_verifier_verdicts_total{simulator="faas",status="ok"}[5m])',
        'increase(quintain_verifier_answers_total{source="run"}[5m])',
        'increase(quintain_generator_calls_total{backend="offline",outcome="ok"}[5m])',
        'sum(increase(quintain_controller_candidates_total{outcome="ok"}[5m]))',
        'quintain_controller_searches{state="running"}',
        "quintain_controller_best_normalized",
        'increase(quintain_rpc_handled_total{service="generator",method="Generate",code="OK"}[5m])',
        "increase(quintain_controller_store_seconds_count[5m])",
        'quintain_verifier_jail_layer_active{layer="seccomp"}',
    ],
)
def test_the_load_shows(prometheus: Prometheus, expression: str) -> None:
    eventually(lambda: any(v > 0 for v in prometheus.values(expression)), expression, SECONDS)


def test_no_alert_says_that_something_is_broken(prometheus: Prometheus) -> None:
    assert prometheus.values('ALERTS{alertstate="firing",severity="critical"}') == []
