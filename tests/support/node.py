"""The example simulator in TypeScript, built and served. Its tests are skipped where Node or its
packages are missing."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.processes import until

LOAD_BALANCER = Path(__file__).parents[2] / "examples" / "simulators" / "load_balancer_ts"
PROTO = LOAD_BALANCER.parents[2] / "proto"
NODE_MAJOR = 20
INSTALL_SECONDS = 170


def built_load_balancer() -> Path:
    """The folder with the built server. Packages are installed and built once, whoever asks first."""
    if missing := [name for name in ("node", "npm") if shutil.which(name) is None]:
        pytest.skip(f"{' and '.join(missing)} not installed")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").partition(".")[0]) < NODE_MAJOR:
        pytest.skip(f"Node is {version}; {NODE_MAJOR} is needed")
    with (LOAD_BALANCER / ".build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        packages, installed = LOAD_BALANCER / "package-lock.json", LOAD_BALANCER / "node_modules/.package-lock.json"
        if not installed.exists() or installed.stat().st_mtime < packages.stat().st_mtime:
            _install(installed)
        server = LOAD_BALANCER / "dist/src/server.js"
        sources = [*LOAD_BALANCER.glob("src/*.ts"), *LOAD_BALANCER.glob("*.json"), *PROTO.rglob("*.proto")]
        if not server.exists() or server.stat().st_mtime < max(s.stat().st_mtime for s in sources):
            build = subprocess.run(["npm", "run", "build"], cwd=LOAD_BALANCER, capture_output=True, text=True)
            assert build.returncode == 0, build.stdout + build.stderr
            server.touch()
    return LOAD_BALANCER


def _install(installed: Path) -> None:
    command = ["npm", "ci", "--no-audit", "--no-fund"]
    try:
        done = subprocess.run(command, cwd=LOAD_BALANCER, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm ci took more than {INSTALL_SECONDS} s")
    if done.returncode:
        pytest.skip(f"the packages cannot be had: npm ci ended with exit code {done.returncode}")
    installed.touch()


@contextmanager
def load_balancer(
    folder: Path, listen: str = "127.0.0.1:0", built: Path | None = None
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The address of a server of one's own, and its process. `built`: its folder, by default the example's."""
    file = folder / "load_balancer.json"
    file.unlink(missing_ok=True)
    command = ["node", "dist/src/server.js", "--listen", listen, "--address-file", str(file), "--proto", str(PROTO)]
    with (folder / "load_balancer.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=built or built_load_balancer(), stderr=log)
    try:
        until(lambda: file.exists() or process.poll() is not None)
        assert process.poll() is None, (folder / "load_balancer.log").read_text()
        yield json.loads(file.read_text())["address"], process
    finally:
        process.terminate()
        process.wait(30)
