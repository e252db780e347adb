"""Start a jail, run one policy, print what it said: for tests that start this with fewer rights."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from quintain_verifier.sandbox.jail import Jail

sys.path.append(str(Path(__file__).parent / "guests"))

with Jail(["act_guest"], isolation="required") as jail:
    with jail.open("def act(o):\n    return [o, 42]", guest_module="act_guest") as run:
        answer = run.open_policy({}).ask(1)
    (server,) = jail.server_pids
    assert not Path(f"/proc/{server}/task/{server}/children").read_text().split(), "the run left its child"
    print(jail.report().profile, os.getuid(), answer)
    for layer, why in jail.report().errors.items():
        print(f"{layer}: {why}", file=sys.stderr)
