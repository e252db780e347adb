"""Runs inside a verifier container, by standard input: honest and hostile policies, and systems whose models are jailed
too, over gRPC; prints one JSON document.

Needs nothing but what the image holds.
"""

import json
from importlib import resources

from quintain.clients.suite_files import suite_message
from quintain.clients.verifier import Verifier
from quintain.plugins.package_files import package_files
from quintain.verifier.v1 import verifier_pb2 as pb

# Tries to reach out while it is loaded, and says in its error what it reached.
REACHES_OUT = """
import os, socket
from eudoxia.scheduler.decorators import register_scheduler, register_scheduler_init
reached = []
def attempt(name, act):
    try:
        act()
    except BaseException:
        return
    reached.append(name)
attempt("network", lambda: socket.create_connection(("127.0.0.1", 7071), 1))
attempt("config", lambda: open("/etc/quintain/verifier.toml").read())
attempt("records", lambda: open("/var/lib/quintain/owned", "w").write("x"))
attempt("tmp", lambda: open("/tmp/owned", "w").write("x"))
attempt("environment", lambda: open("/proc/1/environ", "rb").read())
attempt("fork", lambda: os.fork())
attempt("kill", lambda: os.kill(1, 9))
raise RuntimeError("reached: " + ", ".join(reached) + ".")
"""
ENDLESS = "while True:\n    pass\n"
HOARDER = "hoard = [bytes(1 << 20) for _ in range(1 << 20)]\n"
CALLS_THE_KERNEL = "import ctypes\nctypes.CDLL(None).ptrace(0, 0, 0, 0)\n"


def told(result: pb.VerifyResult) -> dict[str, object]:
    verdict = result.verdict
    return {
        "status": pb.VerdictStatus.Name(verdict.status),
        "failure": pb.FailureKind.Name(verdict.failure.kind),
        "message": verdict.failure.message,
        "decisions": {s.scenario: s.decisions_digest for s in verdict.scenarios},
        "values": {s.scenario: s.value for s in verdict.scenarios},
        "cached": result.execution.cached,
        "profile": result.execution.isolation.profile,
    }


def of_a_system(verifier: Verifier, suite: str, files: dict[str, bytes] | None) -> pb.VerifyRequest:
    """Its default baseline, on all scenarios."""
    own = suite_message(files)
    asked = pb.GetSuiteRequest(simulator="system", suite=suite, suite_files=own)
    request = pb.VerifyRequest(simulator="system", suite=suite, suite_files=own)
    request.policy.source = verifier.get_suite(asked).simulator.baselines[0].source
    return request


def main() -> None:
    told_of: dict[str, object] = {}
    limits = pb.Limits(wall_seconds=60, cpu_seconds=2, memory_bytes=256 << 20)
    with Verifier("127.0.0.1:7071", timeout_seconds=240) as verifier:
        simulator = verifier.get_simulator(pb.GetSimulatorRequest(name="faas")).simulator
        honest = next(b.source for b in simulator.baselines if b.name == "priority")
        attacks = {
            "reaches_out": REACHES_OUT, "endless": ENDLESS, "hoarder": HOARDER, "calls_the_kernel": CALLS_THE_KERNEL
        }  # fmt: skip
        for name, source in attacks.items():
            result = verifier.verify_policy(source, simulator="faas", suite="smoke", limits=limits)
            told_of[name] = told(result)
        told_of["honest"] = told(verifier.verify_policy(honest, simulator="faas", suite="smoke"))
        files = package_files(resources.files("quintain_system") / "packages" / "load_balancer")
        for suite, own in (("tenants/smoke", None), ("balancer", files)):
            told_of[suite] = told(verifier.verify(of_a_system(verifier, suite, own)))
    print(json.dumps(told_of))


main()
