"""The local stack's process: runs the three services, and Prometheus where it is installed, under honcho.

``python -m quintain_cli.stack.supervisor BASE_PORT DATA_DIR``; started by `quintain up`. Prints the services' logs
with a prefix each. If one process ends, honcho ends all of them.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

from quintain_cli.stack import launch, paths, settings, state
from quintain_cli.stack.service_process import is_serving, read_endpoint
from quintain_cli.stack.stack import SERVICES

PORT_OFFSETS = {"controller": 0, "verifier": 1, "generator": 2}
METRICS_OFFSET = 2000
PROMETHEUS_OFFSET = 2003  # not its usual 9090: Debian's package has a service there
PROMETHEUS = "prometheus"
RULES = Path(__file__).parents[4] / "deploy/monitoring/rules"
_POLL_SECONDS = 0.1
_KILL_SECONDS = settings.DRAIN_SECONDS + 3  # honcho's own 5 s would cut short what the services may finish


def ports(base: int) -> dict[str, int]:
    """Every port that the stack takes, by what takes it."""
    taken = {}
    for service, offset in PORT_OFFSETS.items():
        taken[service] = base + offset
        taken[f"{service} metrics"] = base + METRICS_OFFSET + offset
    if shutil.which(PROMETHEUS):
        taken[PROMETHEUS] = base + PROMETHEUS_OFFSET
    return taken


def main() -> None:
    from honcho import manager as honcho  # type: ignore[import-untyped]  # in the extra `local`, not in `cli`

    base, data = int(sys.argv[1]), Path(sys.argv[2])
    folder = paths.run_dir()
    for stale in folder.glob("*.pid"):
        stale.unlink()
    for service in SERVICES:
        (folder / f"{service}.json").unlink(missing_ok=True)
    data.mkdir(parents=True, exist_ok=True)

    class StackManager(honcho.Manager):  # type: ignore[misc]  # untyped
        def terminate(self) -> None:
            """A signal while processes are being started comes again when they are: honcho does not know them yet."""
            if self._all_started():
                super().terminate()
            else:
                threading.Timer(_POLL_SECONDS, os.kill, (os.getpid(), signal.SIGTERM)).start()

    honcho.KILL_WAIT = _KILL_SECONDS
    manager = StackManager()
    addresses = {service: f"127.0.0.1:{base + offset}" for service, offset in PORT_OFFSETS.items()}
    for service, offset in PORT_OFFSETS.items():
        given = {
            **settings.default_settings(service, data, addresses),
            "server.listen": addresses[service],
            "server.metrics_listen": f"127.0.0.1:{base + METRICS_OFFSET + offset}",
            "server.address_file": str(folder / f"{service}.json"),
        }
        environment = settings.service_environment(service, given)
        manager.add_process(service, _shell(service, settings.service_command(service)), env=environment)
    executable = shutil.which(PROMETHEUS)
    if executable:
        manager.add_process(PROMETHEUS, _shell(PROMETHEUS, _prometheus(executable, base, folder, data)))
    threading.Thread(target=_write_state_when_serving, args=(folder, data), daemon=True).start()
    manager.loop()
    state.state_file().unlink(missing_ok=True)
    sys.exit(manager.returncode)


def _shell(name: str, command: list[str]) -> str:
    """For honcho's shell, which becomes the command itself, so that its process id is the service's."""
    pid_file = paths.run_dir() / f"{name}.pid"
    launcher = [sys.executable, launch.__file__]
    return f"exec {shlex.join(launcher)} $PPID {shlex.join([str(pid_file), *command])}"


def _prometheus(executable: str, base: int, folder: Path, data: Path) -> list[str]:
    """Scrapes the three services as deploy/monitoring/prometheus.yml does, with the project's rules where this runs
    from a checkout."""
    lines = ["global: {scrape_interval: 5s, evaluation_interval: 15s}", "scrape_configs:"]
    lines += ["  - job_name: quintain", "    static_configs:"]
    for service, offset in PORT_OFFSETS.items():
        target = f"127.0.0.1:{base + METRICS_OFFSET + offset}"
        lines.append(f"      - {{targets: ['{target}'], labels: {{service: {service}}}}}")
    rules = sorted(RULES.glob("*.yml"))
    if rules:
        lines += ["rule_files:", *(f"  - '{path}'" for path in rules)]
    config = folder / "prometheus.yml"
    config.write_text("\n".join(lines) + "\n")
    return [
        executable,
        f"--config.file={config}",
        f"--storage.tsdb.path={data / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{base + PROMETHEUS_OFFSET}",
        "--log.level=warn",
    ]


def _write_state_when_serving(folder: Path, data: Path) -> None:
    """Once every service is healthy, write the state file: that is what `quintain up` waits for."""
    addresses: dict[str, str] = {}
    for service in SERVICES:
        file = folder / f"{service}.json"
        while not (file.exists() and is_serving(read_endpoint(file).address)):
            time.sleep(_POLL_SECONDS)
        addresses[service] = read_endpoint(file).address
    pids = {file.stem: int(file.read_text()) for file in folder.glob("*.pid")}
    state.write(state.state_file(), {state.SUPERVISOR: os.getpid(), **pids}, data, addresses)


if __name__ == "__main__":
    main()
