"""The installed simulators, asked as a verifier is: for lists no service has to be started."""

from __future__ import annotations

import os
from dataclasses import replace

from quintain.errors import InvalidArgument
from quintain.plugins.doors import SIMULATORS
from quintain.plugins.loading import PluginError
from quintain.plugins.simulator import Simulator
from quintain.verifier.v1 import verifier_pb2 as pb
from quintain.wire.simulator_messages import description_message, suite_message
from quintain_cli.stack.settings import configured


def verifier_has_settings() -> bool:
    """Whether the user configured a verifier: then only a verifier knows which simulators it offers."""
    return bool(configured("verifier")) or any(name.startswith("QUINTAIN_VERIFIER__") for name in os.environ)


class Installed:
    """The answers of a verifier with its default settings. Simulators run in this process, as for `simulate`."""

    def list_simulators(self, _request: pb.ListSimulatorsRequest) -> pb.ListSimulatorsResponse:
        reasons = SIMULATORS.listing()
        return pb.ListSimulatorsResponse(
            simulators=[pb.SimulatorSummary(name=name, unavailable_reason=reasons[name]) for name in sorted(reasons)]
        )

    def get_simulator(self, request: pb.GetSimulatorRequest, _timeout: float | None = None) -> pb.GetSimulatorResponse:
        description = replace(self._simulator(request.name).describe(), name=request.name)
        return pb.GetSimulatorResponse(simulator=description_message(description))

    def list_suites(self, request: pb.ListSuitesRequest) -> pb.ListSuitesResponse:
        simulator = self._simulator(request.simulator)
        names = simulator.describe().suites
        return pb.ListSuitesResponse(suites=[suite_message(simulator.suite(n), simulator.scenario) for n in names])

    def _simulator(self, name: str) -> Simulator:
        try:
            return SIMULATORS.load(name)
        except PluginError as error:
            raise InvalidArgument.of("simulator", str(error)) from error
