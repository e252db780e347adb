"""The Kubernetes manifests: strictly valid, consistent, restricted. Rendered by kubectl's own kustomize, offline."""

import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from quintain.service.server import LIVENESS

ROOT = Path(__file__).resolve().parents[3]
KUBERNETES = ROOT / "deploy/kubernetes"
BIN = Path(sys.executable).parent
OVERLAYS = ["production", "development"]
SERVICES = ["generator", "verifier", "controller"]
APP = "app.kubernetes.io/name"
NAMESPACE_LABEL = "kubernetes.io/metadata.name"

Manifest = dict[str, Any]


@cache
def render(folder: Path) -> str:
    done = subprocess.run([BIN / "kubectl", "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module", params=OVERLAYS)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    return list(yaml.safe_load_all(render(KUBERNETES / "overlays" / request.param)))


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [m for m in manifests if m["kind"] in kinds]


def pod(deployment: Manifest) -> Manifest:
    return cast(Manifest, deployment["spec"]["template"]["spec"])


# Kinds of operators, whose schemas kubernetes-validate does not know: the fields of their specs that we use and need.
# Sources: the operators' API references (Prometheus Operator 0.86, Gateway API 1.4, External Secrets 0.20, KEDA 2.18).
OPERATORS = {
    "PodMonitor": {"jobLabel", "selector", "podMetricsEndpoints"},
    "PrometheusRule": {"groups"},
    "GRPCRoute": {"parentRefs", "hostnames", "rules"},
    "ExternalSecret": {"refreshInterval", "secretStoreRef", "target", "data", "dataFrom"},
    "ScaledObject": {"scaleTargetRef", "minReplicaCount", "maxReplicaCount", "cooldownPeriod", "triggers"},
}


def strictly_valid(text: str, folder: Path) -> None:
    path = folder / "all.yaml"
    ours = []
    for manifest in yaml.safe_load_all(text):
        if manifest["kind"] in OPERATORS:
            assert set(manifest["spec"]) <= OPERATORS[manifest["kind"]], manifest["kind"]
        else:
            ours.append(manifest)
    path.write_text(yaml.safe_dump_all(ours))
    command = [BIN / "kubernetes-validate", "--strict", "-k", "1.36", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_manifest_passes_strict_validation(overlay: str, tmp_path: Path) -> None:
    strictly_valid(render(KUBERNETES / "overlays" / overlay), tmp_path)


COMPONENTS = {  # component -> an overlay that it is for, a kind of object that it adds or changes, what it brings
    "gvisor": ("production", "Deployment", "runtimeClassName: gvisor"),
    "queue-autoscaling": ("production", "HorizontalPodAutoscaler", "quintain_verifier_queue_depth"),
    "persistent-sqlite": ("development", "Deployment", "claimName: quintain-controller"),
    "tracing": ("development", "Deployment", "OTEL_EXPORTER_OTLP_ENDPOINT"),
    "small": ("production", "HorizontalPodAutoscaler", "minReplicas: 1"),
    "private-llm": ("production", "NetworkPolicy", "quintain.dev/llm"),
    "node-local-dns": ("production", "NetworkPolicy", "169.254.20.10/32"),
    "node-isolation": ("production", "Deployment", "priorityClassName: quintain-verifier"),
    "gateway": ("production", "GRPCRoute", "quintain.example.org"),
    "ingress": ("production", "Ingress", "secretName: quintain-tls"),
    "external-secrets": ("production", "ExternalSecret", "quintain/llm-keys"),
    "backup": ("production", "CronJob", "/scripts/backup.sh"),
    "keda": ("production", "ScaledObject", "quintain_verifier_queue_depth_requests"),
    "search-job": ("development", "Job", "quintain-cli:0.1.0"),
    "monitoring": ("production", "PrometheusRule", "QuintainServiceDown"),
}
MONITORING = "../../../monitoring"  # a component that lies beside its rules and dashboards


def with_component(overlay: str, component: str, folder: Path) -> str:
    """The overlay with a component, as a cluster's own overlay would have it."""
    copy = folder / "kubernetes"
    shutil.copytree(KUBERNETES, copy)
    own = copy / "overlays/own"
    own.mkdir()
    shutil.copytree(ROOT / "deploy/monitoring", folder / "monitoring")
    place = MONITORING if component == "monitoring" else f"../../components/{component}"
    images = "images: [{name: quintain-cli, newTag: 0.1.0}]\n"
    lines = f"resources: [../{overlay}]\ncomponents: [{place}]\n{images}"
    (own / "kustomization.yaml").write_text(f"namespace: quintain\n{lines}")
    return render(own)


@pytest.mark.parametrize("component", sorted({p.name for p in (KUBERNETES / "components").iterdir()} | {"monitoring"}))
def test_components_apply_to_their_overlay_and_take_nothing_away(component: str, tmp_path: Path) -> None:
    overlay, kind, brings = COMPONENTS[component]
    text = with_component(overlay, component, tmp_path)
    assert any(brings in yaml.safe_dump(m) for m in of_kind(list(yaml.safe_load_all(text)), kind))
    assert "STORE_URL" in text
    strictly_valid(text, tmp_path)


def cores(text: str) -> float:
    return float(text.removesuffix("m")) / 1000 if text.endswith("m") else float(text)


def test_the_small_profile_fits_two_cores_even_while_it_is_rolled_out(tmp_path: Path) -> None:
    manifests = list(yaml.safe_load_all(with_component("production", "small", tmp_path)))
    (scaler,) = of_kind(manifests, "HorizontalPodAutoscaler")
    asked = 0.0
    for deployment in of_kind(manifests, "Deployment"):
        each = cores(pod(deployment)["containers"][0]["resources"]["requests"]["cpu"])
        replicas = deployment["spec"].get("replicas", scaler["spec"]["minReplicas"])
        asked += each * (replicas + deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"])
    assert asked <= 2.0


@pytest.mark.parametrize("component", ["backup", "search-job"])
def test_pods_that_components_add_are_as_restricted_as_the_services(component: str, tmp_path: Path) -> None:
    overlay, kind, _ = COMPONENTS[component]
    (added,) = of_kind(list(yaml.safe_load_all(with_component(overlay, component, tmp_path))), kind)
    spec = added["spec"]["jobTemplate"]["spec"] if kind == "CronJob" else added["spec"]
    pod_spec = spec["template"]["spec"]
    assert pod_spec["automountServiceAccountToken"] is False
    assert pod_spec["securityContext"]["runAsNonRoot"] is True
    assert pod_spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod_spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}
    }  # fmt: skip


def test_no_component_opens_a_way_out_of_the_verifier(tmp_path: Path) -> None:
    for component, (overlay, _, _) in COMPONENTS.items():
        manifests = list(yaml.safe_load_all(with_component(overlay, component, tmp_path / component)))
        opened = [
            p["metadata"]["name"]
            for p in of_kind(manifests, "NetworkPolicy")
            if p["spec"].get("egress") and selected(p["spec"]["podSelector"], {APP: "quintain-verifier"})
        ]
        assert opened == (["quintain-tracing"] if component == "tracing" else []), component


def test_every_object_says_what_it_is_part_of_and_pods_their_version(manifests: list[Manifest]) -> None:
    for deployment in of_kind(manifests, "Deployment"):
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert labels["app.kubernetes.io/part-of"] == "quintain"
        assert labels["app.kubernetes.io/version"]
        assert labels["app.kubernetes.io/managed-by"] == "kustomize"
        assert labels["app.kubernetes.io/component"]
        (container,) = pod(deployment)["containers"]
        assert "ephemeral-storage" in container["resources"]["requests"]
        assert container["startupProbe"]["timeoutSeconds"] >= 2


def test_selectors_choose_pods_that_exist(manifests: list[Manifest]) -> None:
    labels = [d["spec"]["template"]["metadata"]["labels"] for d in of_kind(manifests, "Deployment")]

    def chosen(selector: dict[str, str]) -> int:
        return sum(selector.items() <= pod_labels.items() for pod_labels in labels)

    for deployment in of_kind(manifests, "Deployment"):
        assert chosen(deployment["spec"]["selector"]["matchLabels"]) == 1
        for spread in pod(deployment)["topologySpreadConstraints"]:
            assert chosen(spread["labelSelector"]["matchLabels"]) == 1
    for service in of_kind(manifests, "Service"):
        assert chosen(service["spec"]["selector"]) == 1
    for budget in of_kind(manifests, "PodDisruptionBudget"):
        assert chosen(budget["spec"]["selector"]["matchLabels"]) == 1
    for scaler in of_kind(manifests, "HorizontalPodAutoscaler"):
        names = {d["metadata"]["name"] for d in of_kind(manifests, "Deployment")}
        assert scaler["spec"]["scaleTargetRef"]["name"] in names


def test_every_reference_resolves(manifests: list[Manifest]) -> None:
    names = {(m["kind"], m["metadata"]["name"]) for m in manifests}
    for deployment in of_kind(manifests, "Deployment"):
        assert ("ServiceAccount", pod(deployment)["serviceAccountName"]) in names
        volumes = {v["name"]: v for v in pod(deployment)["volumes"]}
        for volume in volumes.values():
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in names
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in names
        (container,) = pod(deployment)["containers"]
        assert {m["name"] for m in container["volumeMounts"]} == set(volumes)


def test_probes_and_services_name_ports_that_are_listened_on(manifests: list[Manifest]) -> None:
    for deployment in of_kind(manifests, "Deployment"):
        (container,) = pod(deployment)["containers"]
        ports = {p["name"]: p["containerPort"] for p in container["ports"]}
        asked = {name: container[f"{name}Probe"]["grpc"] for name in ("startup", "readiness", "liveness")}
        assert {grpc["port"] for grpc in asked.values()} == {ports["grpc"]}
        names = {name: grpc.get("service", "") for name, grpc in asked.items()}
        assert names == {"startup": "", "readiness": "", "liveness": LIVENESS}, "names that the health service knows"
        assert deployment["spec"]["template"]["metadata"]["annotations"]["prometheus.io/port"] == str(ports["metrics"])
        service = next(
            s for s in of_kind(manifests, "Service") if s["metadata"]["name"] == deployment["metadata"]["name"]
        )
        assert {p["targetPort"] for p in service["spec"]["ports"]} == set(ports)
        assert service["spec"]["clusterIP"] == "None", "headless, so that clients see every replica"


def test_pods_are_restricted(manifests: list[Manifest]) -> None:
    (namespace,) = of_kind(manifests, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for deployment in of_kind(manifests, "Deployment"):
        spec = pod(deployment)
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] >= 10000
        assert spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        (container,) = spec["containers"]
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}


def test_running_models_beside_policies_takes_no_right_that_a_verifier_did_not_have(manifests: list[Manifest]) -> None:
    """Whole, so that whatever is added is seen here. What these rights are enough for: tests/sandbox/test_isolation.py
    and deploy/images."""
    (deployment,) = (d for d in of_kind(manifests, "Deployment") if d["metadata"]["name"] == "quintain-verifier")
    spec = pod(deployment)
    (container,) = spec["containers"]
    assert "initContainers" not in spec
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "fsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers"} & set(spec)
    kinds = {kind for volume in spec["volumes"] for kind in volume if kind != "name"}
    assert kinds <= {"configMap", "emptyDir", "secret"}
    assert not [m for m in manifests if m["kind"].startswith(("Role", "ClusterRole"))]


def test_images_are_pinned(manifests: list[Manifest]) -> None:
    for deployment in of_kind(manifests, "Deployment"):
        (container,) = pod(deployment)["containers"]
        tag = re.fullmatch(r"quintain-\w+:(.+)", container["image"])
        assert tag, container["image"]
        assert tag.group(1) != "latest"


QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
MEMORY_UNITS = {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def test_quantities_are_quantities_and_requests_fit_limits(manifests: list[Manifest]) -> None:
    def memory(text: str) -> float:
        number, unit = re.fullmatch(r"([\d.]+)(\w*)", text).groups()  # type: ignore[union-attr]
        return float(number) * MEMORY_UNITS[unit]

    for deployment in of_kind(manifests, "Deployment"):
        (container,) = pod(deployment)["containers"]
        resources = container["resources"]
        for amounts in resources.values():
            assert all(QUANTITY.fullmatch(str(amount)) for amount in amounts.values()), amounts
        assert memory(resources["requests"]["memory"]) <= memory(resources["limits"]["memory"])
        for volume in pod(deployment)["volumes"]:
            if "emptyDir" in volume:
                assert QUANTITY.fullmatch(volume["emptyDir"]["sizeLimit"])


def test_keys_reach_the_generator_alone_and_the_verifier_gets_no_secret(manifests: list[Manifest]) -> None:
    for deployment in of_kind(manifests, "Deployment"):
        text = yaml.safe_dump(deployment)
        name = deployment["metadata"]["name"]
        assert ("quintain-llm-keys" in text) == (name == "quintain-generator")
        if name == "quintain-verifier":
            assert "secret" not in text


def test_a_diff_against_the_cluster_converges(manifests: list[Manifest]) -> None:
    """The API server drops empty lists, and the namespace is applied by its own file as well."""
    (namespace,) = of_kind(manifests, "Namespace")
    assert namespace == yaml.safe_load((KUBERNETES / "base/namespace.yaml").read_text())
    for policy in of_kind(manifests, "NetworkPolicy"):
        assert [] not in policy["spec"].values(), policy["metadata"]["name"]


def test_the_verifier_may_call_nobody(manifests: list[Manifest]) -> None:
    policies = {p["metadata"]["name"]: p["spec"] for p in of_kind(manifests, "NetworkPolicy")}
    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert policies["quintain-verifier"].get("egress", []) == []
    assert "Egress" in policies["quintain-verifier"]["policyTypes"]
    opens_more = [
        name
        for name, spec in policies.items()
        if spec.get("egress") and "quintain-verifier" in yaml.safe_dump(spec["podSelector"])
    ]
    assert opens_more == []


def test_network_policies_name_ports_that_exist(manifests: list[Manifest]) -> None:
    ports = {p["containerPort"] for d in of_kind(manifests, "Deployment") for p in pod(d)["containers"][0]["ports"]}
    for policy in of_kind(manifests, "NetworkPolicy"):
        for rule in policy["spec"].get("ingress", []):
            assert {p["port"] for p in rule["ports"]} <= {"grpc", "metrics"}
        for rule in policy["spec"].get("egress", []):
            assert {p["port"] for p in rule["ports"]} <= ports | {53, 443, 5432}


def selected(selector: Manifest, labels: dict[str, str]) -> bool:
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    listed = all(
        e["operator"] == "In" and labels.get(e["key"]) in e["values"] for e in selector.get("matchExpressions", [])
    )
    return wanted and listed


def admits(peers: list[Manifest], other: dict[str, str], namespace: str) -> bool:
    """Whether a rule's `from` or `to` covers pods with the labels `other` in a namespace; none there covers all."""

    def covers(peer: Manifest) -> bool:
        spaces = peer.get("namespaceSelector")
        there = namespace == "quintain" if spaces is None else selected(spaces, {NAMESPACE_LABEL: namespace})
        return "ipBlock" not in peer and there and selected(peer.get("podSelector", {}), other)

    return not peers or any(map(covers, peers))


def allowed(
    manifests: list[Manifest], direction: str, service: str, other: dict[str, str], namespace: str, port: object
) -> bool:
    """Whether the policies let a pod of `service` talk to (egress) or be called by (ingress) another pod."""
    one, peers = {APP: f"quintain-{service}"}, {"egress": "to", "ingress": "from"}[direction]
    rules = [
        rule
        for policy in of_kind(manifests, "NetworkPolicy")
        if selected(policy["spec"]["podSelector"], one)
        for rule in policy["spec"].get(direction, [])
    ]
    return any(
        port in [p["port"] for p in rule["ports"]] and admits(rule.get(peers, []), other, namespace) for rule in rules
    )


def test_network_policies_let_through_what_is_needed_and_nothing_else(manifests: list[Manifest]) -> None:
    ports = {"generator": 7072, "verifier": 7071, "controller": 7070}
    for caller in SERVICES:
        for called, port in ports.items():
            out = allowed(manifests, "egress", caller, {APP: f"quintain-{called}"}, "quintain", port)
            into = allowed(manifests, "ingress", called, {APP: f"quintain-{caller}"}, "quintain", "grpc")
            assert (out and into) == (caller == "controller" and called != "controller"), (caller, called)
    for service in SERVICES:
        assert allowed(manifests, "ingress", service, {}, "monitoring", "metrics"), "Prometheus scrapes"
        assert not allowed(manifests, "ingress", service, {}, "default", "metrics")
        stateful = service != "verifier"
        assert allowed(manifests, "egress", service, {"k8s-app": "kube-dns"}, "kube-system", 53) == stateful
        assert allowed(manifests, "egress", service, {}, "databases", 5432) == stateful


def test_a_drain_of_a_node_is_never_blocked(manifests: list[Manifest]) -> None:
    for budget in of_kind(manifests, "PodDisruptionBudget"):
        assert budget["spec"]["maxUnavailable"] >= 1, "minAvailable would hold up a node with the only replica"
        assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow", "while nothing is ready, too"


def test_autoscaling_uses_a_metric_that_every_cluster_with_a_metrics_server_has(manifests: list[Manifest]) -> None:
    for scaler in of_kind(manifests, "HorizontalPodAutoscaler"):
        assert {m["type"] for m in scaler["spec"]["metrics"]} == {"Resource"}
        (deployment,) = (
            d
            for d in of_kind(manifests, "Deployment")
            if d["metadata"]["name"] == scaler["spec"]["scaleTargetRef"]["name"]
        )
        assert "replicas" not in deployment["spec"], "the autoscaler owns the number"
        assert "cpu" in pod(deployment)["containers"][0]["resources"]["requests"], "utilisation is of the request"
