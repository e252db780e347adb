"""The Kubernetes manifests: strictly valid, consistent, restricted. Rendered by kubectl's own kustomize, offline."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
KUBERNETES = ROOT / "deploy/kubernetes"
BIN = Path(sys.executable).parent
OVERLAYS = ["production", "development"]
SERVICES = ["generator", "verifier", "controller"]

Manifest = dict[str, Any]


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


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_manifest_passes_strict_validation(overlay: str, tmp_path: Path) -> None:
    path = tmp_path / "all.yaml"
    path.write_text(render(KUBERNETES / "overlays" / overlay))
    command = [BIN / "kubernetes-validate", "--strict", "-k", "1.36", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("component", ["gvisor", "queue-autoscaling"])
def test_components_apply_to_production(component: str, tmp_path: Path) -> None:
    copy = tmp_path / "kubernetes"
    subprocess.run(["cp", "-r", KUBERNETES, copy], check=True)
    overlay = copy / "overlays/production"
    path = overlay / "kustomization.yaml"
    path.write_text(path.read_text() + f"\ncomponents:\n  - ../../components/{component}\n")
    text = render(overlay)
    assert ("runtimeClassName: gvisor" in text) == (component == "gvisor")
    assert ("quintain_verifier_queue_depth" in text) == (component == "queue-autoscaling")


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
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe]["grpc"]["port"] == ports["grpc"]
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
