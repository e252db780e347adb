"""How many verifications of searches were made already, and what gRPC offers to bring repeats to their replica.

    python -m benchmarks.repeats [--suite smoke] [--candidates 40] [--searches 4]

Offline searches over all three services with one verifier: one alone, then several of one problem at the same time,
which differ in their seeds (as `quintain ablate` runs them). A call that finds its verdict in the cache or in work is a
repeat; of several replicas it finds it at one only. Then where gRPC takes the five attempts of a call whose own replica
of three is busy, by round robin and by its ring hash.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
from tests.support.services import Services

from quintain.clients.controller import Controller
from quintain.controller.v1 import controller_pb2
from quintain.wire.balancing import SERVICE_CONFIG

POLICIES: tuple[dict[str, Any], ...] = (
    {"round_robin": {}},
    {"ring_hash_experimental": {"requestHashHeader": "request-digest"}},
)
METHOD = "/quintain.verifier.v1.Verifier/Verify"


def answers(services: Services) -> dict[str, int]:
    """Of the verifier so far, by where they came from."""
    text = urllib.request.urlopen(f"http://{services.metrics['verifier']}/metrics", timeout=10).read().decode()
    found = re.findall(r'^quintain_verifier_answers_total\{source="(\w+)"\} (\S+)$', text, re.MULTILINE)
    return {source: int(float(count)) for source, count in found}


def search(services: Services, suite: str, candidates: int, seed: int) -> None:
    """One search to its end, gates and all."""
    simulator = "system" if "/" in suite or suite == "load_balancer" else "faas"
    budget = controller_pb2.Budget(candidates=candidates)
    spec = controller_pb2.SearchSpec(simulator=simulator, suite=suite, backends=["offline"], budget=budget, seed=seed)
    with Controller(services.addresses["controller"]) as client:
        made = client.create_search(controller_pb2.CreateSearchRequest(spec=spec)).search
        *_, last = client.watch_search(made.search_id, timeout=3600)
        assert last.state_changed.state == controller_pb2.SEARCH_STATE_FINISHED, last


def attempts(policy: dict[str, Any]) -> list[int]:
    """Which of three replicas a call is given to if the first one refuses it as busy."""
    given: list[int] = []

    def answer(number: int, context: grpc.ServicerContext) -> bytes:
        given.append(number)
        if number == given[0]:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy")
        return b""

    servers, addresses = [], []
    for number in range(3):
        handler: Any = grpc.unary_unary_rpc_method_handler(lambda request, context, n=number: answer(n, context))
        server = grpc.server(ThreadPoolExecutor(2))
        service, _, method = METHOD[1:].partition("/")
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        addresses.append(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
        server.start()
        servers.append(server)
    config = json.dumps({**SERVICE_CONFIG, "loadBalancingConfig": [policy]})
    target = "ipv4:" + ",".join(addresses)
    with grpc.insecure_channel(target, [("grpc.service_config", config)]) as channel, suppress(grpc.RpcError):
        call: Any = channel.unary_unary(METHOD)
        call(b"", metadata=(("request-digest", "d1"),), timeout=30)
    for server in servers:
        server.stop(0)
    return given


def main() -> None:
    os.environ["GRPC_EXPERIMENTAL_RING_HASH_SET_REQUEST_HASH_KEY"] = "true"  # without it the header is not read
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--suite", default="smoke")
    parser.add_argument("--candidates", type=int, default=40)
    parser.add_argument("--searches", type=int, default=4, help="at the same time")
    options = parser.parse_args()
    print("| searches | run | from the cache | joined | repeats |\n| --- | --- | --- | --- | --- |")
    for together in (1, options.searches):
        with tempfile.TemporaryDirectory() as folder, Services(Path(folder)) as services:
            services.start()
            with ThreadPoolExecutor(together) as pool:
                asked = [
                    pool.submit(search, services, options.suite, options.candidates, seed) for seed in range(together)
                ]
                for one in asked:
                    one.result()
            of = answers(services)
        repeats = of["cache"] + of["joined"]
        share = repeats / (repeats + of["run"])
        print(f"| {together} | {of['run']} | {of['cache']} | {of['joined']} | {share:.1%} |", flush=True)
    for policy in POLICIES:
        print(f"{next(iter(policy))}: the attempts of a call went to {attempts(policy)}")


if __name__ == "__main__":
    main()
