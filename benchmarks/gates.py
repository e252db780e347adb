"""What the gates of a search cost beside its verifications: ``python -m benchmarks.gates``.

An offline search over all three services; the verifier's CPU until the gates begin against that of the gates.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.fleet import cpu_seconds
from tests.support.services import Services

from quintain.clients.controller import Controller
from quintain.controller.v1 import controller_pb2

DAY_SECONDS = 86_400.0  # as long as it takes, on a busy machine


def shares(services: Services, suite: str, candidates: int) -> tuple[float, float, list[str]]:
    """CPU seconds of the verifications and of the gates, and what each gate said."""
    pid = services.running["verifier"].process.pid
    budget = controller_pb2.Budget(candidates=candidates)
    spec = controller_pb2.SearchSpec(simulator="faas", suite=suite, backends=["offline"], budget=budget)
    begun: float | None = None
    said = []
    with Controller(services.addresses["controller"]) as client:
        before = cpu_seconds(pid)
        search = client.create_search(controller_pb2.CreateSearchRequest(spec=spec)).search
        for event in client.watch_search(search.search_id, 0, timeout=DAY_SECONDS):
            kind = event.WhichOneof("event")
            if kind == "gate_progress" and begun is None:
                begun = cpu_seconds(pid)
            if kind == "gate_decided":
                gate = event.gate_decided.gate
                said.append(f"{gate.name} of candidate {gate.candidate_id}: {'passed' if gate.passed else 'refused'}")
        end = cpu_seconds(pid)
    if begun is None:
        raise SystemExit("no gate was asked for a verification")
    return begun - before, end - begun, said


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", default="standard")
    parser.add_argument("--candidates", type=int, nargs="+", default=[24, 200])
    options = parser.parse_args()
    for candidates in options.candidates:
        with tempfile.TemporaryDirectory(prefix="quintain-gates-") as folder:
            os.environ["QUINTAIN_CONFIG"] = folder
            with Services(Path(folder)) as services:
                services.start()
                verifying, gates, said = shares(services, options.suite, candidates)
        print(
            f"{options.suite}, {candidates} candidates: {verifying:.1f} CPU s of verification, {gates:.1f} of gates:"
            f" {gates / verifying:.1%}"
        )
        print("  " + "; ".join(said))
    return 0


if __name__ == "__main__":
    sys.exit(main())
