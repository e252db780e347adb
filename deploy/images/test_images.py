"""The images, built and run with the flags of production: `make images`. Skipped where nothing runs containers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from deploy.images.engine import PYTHON, ROOT, Engine, NoEngine, find_engine

from quintain.plugins.doors import SIMULATORS
from quintain.plugins.inprocess import in_process, simulate
from quintain.plugins.simulator import RunOptions, narrowed
from quintain_faas.plugin import simulator

pytestmark = [pytest.mark.timeout(1800), pytest.mark.xdist_group("images")]

PORTS = {"verifier": 7071, "generator": 7072, "controller": 7070}
START_SECONDS = 120.0
FOREIGN = {  # a package that must not be in the image -> in which
    "openai": ("verifier", "controller"),
    "anthropic": ("verifier", "controller"),
    "grpc_tools": tuple(PORTS),
    "pytest": tuple(PORTS),
    "pip": tuple(PORTS),
}


def tag(service: str) -> str:
    return f"localhost/quintain-{service}:test"


def container(service: str) -> str:
    return f"quintain-test-{service}"


@pytest.fixture(scope="session")
def engine() -> Engine:
    try:
        found = find_engine()
    except NoEngine as error:
        pytest.skip(f"no container engine works here: {error}")
    for target in (*PORTS, "cli"):
        found.build(target, tag(target))
    return found


@pytest.fixture(scope="session")
def pods(engine: Engine) -> Iterator[Engine]:
    """All three services. The verifier has no network at all; the other two share its loopback, and nothing else."""
    with ExitStack() as stack:
        for service in PORTS:
            flags = [f"--env=QUINTAIN_{service.upper()}__SERVER__DRAIN_SECONDS=5"]
            if service != "verifier":
                store = f"sqlite:////var/lib/quintain/{service}.db"
                flags.append(f"--env=QUINTAIN_{service.upper()}__STORE_URL={store}")
            if service == "controller":
                for other in ("generator", "verifier"):
                    flags.append(f"--env=QUINTAIN_CONTROLLER__{other.upper()}__ADDRESS=127.0.0.1:{PORTS[other]}")
            network = "none" if service == "verifier" else f"container:{container('verifier')}"
            engine.attempt("rm", "--force", container(service))
            stack.enter_context(engine.container(container(service), tag(service), network, flags))
        deadline = time.monotonic() + START_SECONDS
        for service in PORTS:
            engine.await_healthy(container(service), f"127.0.0.1:{PORTS[service]}", deadline)
        yield engine


def test_hostile_policies_fail_in_a_production_container_and_an_honest_one_is_right(pods: Engine) -> None:
    script = (ROOT / "deploy/images/inside.py").read_text()
    output = pods.run("exec", "--interactive", container("verifier"), PYTHON, "-", seconds=600, stdin=script)
    told = json.loads(output)
    assert told["reaches_out"]["message"] == "RuntimeError: reached: ."
    failures = {name: (t["status"], t["failure"]) for name, t in told.items() if t["status"] != "VERDICT_STATUS_OK"}
    assert failures == {
        "reaches_out": ("VERDICT_STATUS_POLICY_FAILED", "FAILURE_KIND_LOAD"),
        "endless": ("VERDICT_STATUS_POLICY_FAILED", "FAILURE_KIND_CPU_LIMIT"),
        "hoarder": ("VERDICT_STATUS_POLICY_FAILED", "FAILURE_KIND_MEMORY_LIMIT"),
        "calls_the_kernel": ("VERDICT_STATUS_POLICY_FAILED", "FAILURE_KIND_FORBIDDEN"),
    }
    for name in ("honest", "tenants/smoke", "balancer"):  # systems: a model in a jail beside the policy's
        assert (told[name]["status"], told[name]["profile"]) == ("VERDICT_STATUS_OK", "strict"), told[name]
        assert not told[name]["cached"]
    source = next(b.source for b in simulator.describe().baselines if b.name == "priority")
    for name, decisions in told["honest"]["decisions"].items():
        here = simulator.run(simulator.scenario(name), in_process(simulator, source), RunOptions())
        assert decisions == here.decisions_digest, name
    tenants = narrowed(SIMULATORS.load("system"), "tenants/smoke")
    for name, decisions in told["tenants/smoke"]["decisions"].items():
        policy = in_process(tenants, tenants.describe().baselines[0].source)
        assert decisions == simulate(tenants, tenants.scenario(name), policy, RunOptions()).decisions_digest, name


def test_a_search_runs_over_three_production_containers(pods: Engine) -> None:
    command = ["search", "--address", f"127.0.0.1:{PORTS['controller']}"]
    command += ["--suite", "smoke", "--backend", "offline", "--candidates", "4", "--seed", "1", "--json"]
    beside = ["run", "--rm", *pods.limits, "--network", f"container:{container('verifier')}"]
    output = pods.run(*beside, tag("cli"), *command, seconds=600)
    assert '"SEARCH_STATE_FINISHED"' in output


def test_health_of_a_service_that_is_not_there_is_not_healthy(pods: Engine) -> None:
    assert pods.healthcheck(container("verifier"), "127.0.0.1:7071") == 0
    assert pods.healthcheck(container("verifier"), "127.0.0.1:1") == 1


@pytest.mark.parametrize("service", PORTS)
def test_a_container_holds_nothing_that_it_does_not_need(pods: Engine, service: str) -> None:
    script = "import sys, importlib.util as u; print([n for n in sys.argv[1:] if u.find_spec(n)])"
    unwanted = [name for name, images in FOREIGN.items() if service in images]
    assert pods.run("exec", container(service), PYTHON, "-c", script, *unwanted).strip() == "[]"


@pytest.mark.parametrize("service", PORTS)
def test_a_container_has_no_rights_and_writes_only_where_it_may(pods: Engine, service: str) -> None:
    script = """
import json, os
def writes(path):
    try:
        open(path, "w").close()
        os.unlink(path)
    except OSError:
        return False
    return True
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
print(json.dumps({
    "uid": os.getuid(), "capabilities": int(status["CapEff"], 16) | int(status["CapBnd"], 16),
    "no_new_privileges": status["NoNewPrivs"],
    "writes": [p for p in ("/", "/opt/quintain", "/etc", "/etc/quintain", "/tmp", "/var/lib/quintain")
               if writes(p + "/probe")],
}))
"""
    assert json.loads(pods.run("exec", container(service), PYTHON, "-c", script)) == {
        "uid": 10001,
        "capabilities": 0,
        "no_new_privileges": "1",
        "writes": ["/tmp", "/var/lib/quintain"],
    }


@pytest.mark.parametrize("service", PORTS)
def test_an_image_runs_as_nobody_knows_its_health_and_holds_no_trace_of_the_machine_that_built_it(
    engine: Engine, service: str
) -> None:
    (image,) = json.loads(engine.run("image", "inspect", tag(service)))
    config = image["Config"]
    assert config["User"] == "10001:10001"
    assert "quintain.service.healthcheck" in str(config.get("Healthcheck") or image.get("Healthcheck"))
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert {entry.split("=")[0] for entry in config["Env"]} == {
        "PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "HOME"
    }  # fmt: skip


def test_a_service_stops_in_time_when_it_is_told_to(engine: Engine) -> None:
    name = "quintain-test-stops"
    engine.attempt("rm", "--force", name)
    with engine.container(name, tag("verifier"), "none"):
        engine.await_healthy(name, "127.0.0.1:7071", time.monotonic() + START_SECONDS)
        engine.run("stop", "--time", "60", name, seconds=90)
        assert engine.run("inspect", "--format", "{{.State.ExitCode}}", name).strip() == "0"
