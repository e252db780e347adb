"""Verify a policy from another program: python verify.py POLICY [ADDRESS]."""

import sys
from pathlib import Path

from quintain.clients import Verifier
from quintain.errors import QuintainError

if len(sys.argv) < 2:
    sys.exit("usage: python verify.py POLICY [ADDRESS]")
source = Path(sys.argv[1]).read_text()
try:
    with Verifier(sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1:7071") as verifier:
        result = verifier.verify_policy(source, simulator="faas", suite="smoke")
except QuintainError as error:  # the machine's or the caller's fault, typed; a policy that fails is a result
    sys.exit(f"{error.code} {error.reason}: {error.message}")
verdict = result.verdict
print(f"score {verdict.train.score:.4f}, baseline {verdict.train.baseline_score:.4f}, verdict {verdict.digest[:16]}")
print(result.feedback.text[:400])
