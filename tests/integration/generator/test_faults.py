"""The fault table holds for every wire protocol, streamed and not."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fault_server.table import EXPECTED, expected, measure
from tests.support.generator import WIRES


@pytest.mark.parametrize("wire", WIRES)
async def test_every_fault_has_its_outcome_calls_and_charge(tmp_path: Path, wire: str) -> None:
    assert await measure(tmp_path, wire, EXPECTED) == expected(wire)
