"""With the standard OTLP variables set, all that the three services do for a candidate is one trace."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as otlp_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tests.support.services import Services, eventually

from quintain.clients.controller import Controller
from quintain.controller.v1 import controller_pb2 as pb


class Collector(otlp_grpc.TraceServiceServicer):
    """Keeps what the services export: (service name, span), by trace."""

    def __init__(self) -> None:
        self.traces: defaultdict[bytes, list[tuple[str, Span]]] = defaultdict(list)

    def Export(
        self, request: otlp.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> otlp.ExportTraceServiceResponse:
        for exported in request.resource_spans:
            names = [a.value.string_value for a in exported.resource.attributes if a.key == "service.name"]
            for scope in exported.scope_spans:
                for span in scope.spans:
                    self.traces[span.trace_id].append((names[0], span))
        return otlp.ExportTraceServiceResponse()

    def of_candidates(self) -> list[list[tuple[str, Span]]]:
        """The complete traces of candidates that were generated and verified (a duplicate is not verified)."""
        generated = "quintain.generator.v1.Generator/Generate"
        return [
            spans
            for spans in list(self.traces.values())
            if {"candidate", generated} <= {span.name for _, span in spans} and len(spans) >= 3
        ]


@pytest.fixture
def collector() -> Iterator[tuple[Collector, str]]:
    made = Collector()
    server = grpc.server(ThreadPoolExecutor(2))
    otlp_grpc.add_TraceServiceServicer_to_server(made, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield made, f"http://127.0.0.1:{port}"
    server.stop(None)


def test_a_candidate_is_one_trace_through_all_three_services(
    collector: tuple[Collector, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected, endpoint = collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
    monkeypatch.setenv("QUINTAIN_CONFIG", str(tmp_path))
    spec = pb.SearchSpec(simulator="faas", suite="smoke", backends=["offline"], seed=1, budget=pb.Budget(candidates=4))
    with Services(tmp_path) as services:
        services.start()
        with Controller(services.addresses["controller"]) as client:
            search = client.create_search(pb.CreateSearchRequest(spec=spec)).search
            list(client.watch_search(search.search_id, 0, timeout=120))
        eventually(lambda: bool(collected.of_candidates()), "a candidate's trace arrives")
    for spans in collected.of_candidates():
        ((service, root),) = [(name, span) for name, span in spans if span.name == "candidate"]
        assert service == "quintain-controller"
        assert not root.parent_span_id
        assert {a.key: a.value.string_value for a in root.attributes}["quintain.search"] == search.search_id
        below = {(name, span.name) for name, span in spans if span.parent_span_id == root.span_id}
        assert below == {
            ("quintain-generator", "quintain.generator.v1.Generator/Generate"),
            ("quintain-verifier", "quintain.verifier.v1.Verifier/Verify"),
        }
        sent_on = [name for name, span in spans if any(a.key == "quintain.sent_on" for a in span.attributes)]
        assert set(sent_on) <= {"quintain-verifier"}  # attempts that found no worker free
        assert len(spans) - len(sent_on) == 3
