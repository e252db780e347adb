"""A worker process before its first job."""

import subprocess
import sys

LATER = {"pydantic", "grpc", "numpy", "quintain_faas", "quintain_spot_deadline", "quintain_system"}


def test_nothing_that_only_some_job_needs_is_loaded_at_its_start() -> None:
    look = f"import sys, quintain_verifier.workers.main; print(sorted({LATER!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
