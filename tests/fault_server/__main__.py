"""``python -m tests.fault_server --port 0 --policy-source policy.py``: prints the address, serves until killed."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from tests.fault_server.answers import DEFAULT_POLICY
from tests.fault_server.server import FaultServer


async def serve(options: argparse.Namespace) -> None:
    policies = [Path(path).read_text() for path in options.policy_source] or [DEFAULT_POLICY]
    server = FaultServer(
        options.fault,
        default=options.default,
        policies=policies,
        delay_seconds=options.delay_seconds,
        batch_looks=options.batch_looks,
    )
    await server.start(options.port)
    print(server.url, flush=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.fault_server")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--policy-source", action="append", default=[], help="file with a policy; may be repeated")
    parser.add_argument("--fault", action="append", default=[], help="fault of the next request; may be repeated")
    parser.add_argument("--default", default="ok", help="fault of every other request")
    parser.add_argument("--delay-seconds", type=float, default=0.0, help="before each answer")
    parser.add_argument("--batch-looks", type=int, default=1, help="at a batch before it has ended")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
