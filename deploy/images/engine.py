"""A container engine that works on this machine, and the production flags of a quintain container.

``QUINTAIN_ENGINE`` names another command (``"podman --remote"``); the host's ``SSL_CERT_FILE`` is used for downloads
during a build, and is in no image.
"""

from __future__ import annotations

import os
import resource
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BASE = "docker.io/library/debian:bookworm-slim"
SUITE = "bookworm"
PYTHON = "/opt/quintain/bin/python"  # in the images
CANDIDATES = ("docker", "podman", "podman --runtime runc --cgroup-manager cgroupfs")
_TRY_SECONDS = 60.0
_BUILD_SECONDS = 1200.0


class NoEngine(Exception):
    """Nothing on this machine runs containers; the message says what was tried."""


@dataclass(frozen=True, slots=True)
class Engine:
    """`command` of the engine, and `limits` that a container needs where the engine may not raise its own."""

    command: tuple[str, ...]
    limits: tuple[str, ...] = ()

    def run(self, *arguments: str, seconds: float = _TRY_SECONDS, stdin: str | None = None) -> str:
        """Standard output of one engine command. Raises RuntimeError with its last lines."""
        done = self.attempt(*arguments, seconds=seconds, stdin=stdin)
        if done.returncode != 0:
            last = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
            raise RuntimeError(f"{shlex.join([*self.command, *arguments])}: exit code {done.returncode}\n{last}")
        return done.stdout

    def attempt(
        self, *arguments: str, seconds: float = _TRY_SECONDS, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *arguments], input=stdin, capture_output=True, text=True, timeout=seconds, check=False
        )

    def await_healthy(self, name: str, address: str, deadline: float) -> None:
        """Ask the image's own health check until it agrees. Raises RuntimeError with the logs if the container ends
        or `deadline` (monotonic) passes."""
        while self.healthcheck(name, address) != 0:
            running = self.run("inspect", "--format", "{{.State.Running}}", name).strip() == "true"
            if not running or time.monotonic() > deadline:
                logs = self.attempt("logs", name)
                raise RuntimeError(f"{name} did not become healthy:\n{logs.stdout}{logs.stderr}")

    def healthcheck(self, name: str, address: str) -> int:
        """Exit code of the image's own health check, run in the container."""
        return self.attempt("exec", name, PYTHON, "-m", "quintain.service.healthcheck", address).returncode

    def build(self, target: str, tag: str) -> None:
        """Build one target of the Dockerfile."""
        options = [*self.limits, "--network", "host", "--target", target, "--tag", tag]
        certificates = os.environ.get("SSL_CERT_FILE")
        if self.command[0] == "podman":
            options += ["--format", "docker"]  # podman's own format has no HEALTHCHECK
            if certificates:  # docker has no volumes in a build
                inside = "/etc/ssl/certs/host-ca.crt"
                options += ["--volume", f"{certificates}:{inside}:ro"]
                options += [f"--build-arg={name}={inside}" for name in ("SSL_CERT_FILE", "PIP_CERT")]
        dockerfile = str(ROOT / "deploy/images/Dockerfile")
        self.run("build", *options, "--file", dockerfile, str(ROOT), seconds=_BUILD_SECONDS)

    @contextmanager
    def container(self, name: str, image: str, network: str, flags: Sequence[str] = ()) -> Iterator[None]:
        """The image with the flags of production: what a pod's security context says, for an engine."""
        self.run(
            "run", "--detach", "--name", name, "--network", network, *self.limits,
            "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", "10001:10001",
            "--tmpfs", "/tmp:rw,size=64m", "--tmpfs", "/var/lib/quintain:rw,size=64m",
            "--volume", f"{ROOT / 'deploy/kubernetes/base/config'}:/etc/quintain:ro",
            *flags, image,
        )  # fmt: skip
        try:
            yield
        finally:
            self.attempt("rm", "--force", "--time", "1", name)


def find_engine() -> Engine:
    """The first engine that really runs a container of the base image. Raises NoEngine."""
    given = os.environ.get("QUINTAIN_ENGINE")
    tried = []
    for command in (given,) if given else CANDIDATES:
        words = tuple(shlex.split(command))
        if shutil.which(words[0]) is None:
            tried.append(f"{command}: not installed")
            continue
        for limits in ((), _own_limits()):
            engine = Engine(words, limits)
            try:
                _have_base(engine)
                engine.run("run", "--rm", "--network", "none", *limits, BASE, "true")
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                tried.append(str(error).splitlines()[-1])
                continue
            return engine
    raise NoEngine("; ".join(tried))


def _own_limits() -> tuple[str, ...]:
    """For an engine that must not raise limits: not more than this process has itself."""
    files = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 1024)
    processes = min(resource.getrlimit(resource.RLIMIT_NPROC)[1], 4096)
    return ("--ulimit", f"nofile={files}:{files}", "--ulimit", f"nproc={processes}:{processes}")


def _have_base(engine: Engine) -> None:
    """Pull the base image, or make it from Debian's packages where no registry answers. Raises RuntimeError."""
    if engine.attempt("image", "inspect", BASE).returncode == 0:
        return
    pulled = engine.attempt("pull", BASE, seconds=300)
    if pulled.returncode == 0:
        return
    if shutil.which("mmdebstrap") is None:
        raise RuntimeError(f"{BASE} cannot be pulled and mmdebstrap is not installed: {pulled.stderr[-300:]}")
    archive = ROOT / ".run/base.tar"
    archive.parent.mkdir(exist_ok=True)
    try:
        made = subprocess.run(
            ["mmdebstrap", "--variant=minbase", SUITE, str(archive)],
            capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        if made.returncode != 0:
            raise RuntimeError(f"mmdebstrap: {made.stderr[-300:]}")
        engine.run("import", str(archive), BASE, seconds=300)
    finally:
        archive.unlink(missing_ok=True)
