"""The layers hold, and a run is refused where they do not: as root, as nobody in particular, in a read-only root."""

from __future__ import annotations

import errno
import os
import re
import struct
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support.processes import children_of

from quintain.plugins.simulator import FailureKind, PolicyError
from quintain_verifier.sandbox.inside.lockdown import REQUIRED
from quintain_verifier.sandbox.inside.seccomp import ALLOWED, KILLED, build_filter
from quintain_verifier.sandbox.inside.syscalls import AUDIT_ARCHITECTURE, TABLES
from quintain_verifier.sandbox.jail import IsolationReport, Jail, SandboxFault
from quintain_verifier.sandbox.limits import MIB, Limits

HERE = Path(__file__).parent
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can drop privileges, and see into the undumpable")
SHORT = Limits(wall_seconds=60, step_seconds=60, cpu_seconds=1, memory_bytes=256 * MIB)


def test_a_report_shows_every_required_layer_and_closed_probes(jail: Jail) -> None:
    report = jail.report()
    assert report.profile == "strict"
    assert report.architecture in TABLES
    assert all(report.layers[name] for name in REQUIRED)
    assert set(report.probes) == {"open_file", "open_socket", "signal_parent", "fork", "executable_memory"}
    assert set(report.probes.values()) <= {"EPERM", "EACCES", "ENOSYS"}
    assert report.layers["landlock"] is (report.landlock_abi > 0)
    assert jail.healthy()


@as_root
def test_a_child_holds_its_channel_and_nothing_else_of_a_busy_service() -> None:
    """Whose many descriptors push those of the jail past any small number."""
    with ExitStack() as many:
        for _ in range(300):
            many.enter_context(open(os.devnull))
        with (
            Jail(["act_guest"], isolation="required") as jail,
            jail.open("def act(o):\n    return o", guest_module="act_guest", limits=SHORT) as run,
        ):
            run.open_policy({})
            (child,) = children_of(jail.server_pids[0])
            assert sorted(os.listdir(f"/proc/{child}/fd"), key=int) == ["0", "1", "2", "3"]


@pytest.mark.parametrize("missing", REQUIRED)
def test_a_child_without_a_required_layer_is_refused(missing: str) -> None:
    layers = {name: name != missing for name in REQUIRED}
    ready = {
        "layers": layers,
        "errors": {missing: "refused"},
        "probes": {"fork": "EPERM"},
        "landlock_abi": 0,
        "machine": "x",
    }
    with pytest.raises(SandboxFault, match=f"{missing}: refused"):
        IsolationReport.from_ready(ready, strict=True)


def test_a_child_in_which_something_forbidden_works_is_refused() -> None:
    layers = dict.fromkeys(REQUIRED, True)
    ready = {"layers": layers, "errors": {}, "probes": {"fork": "POSSIBLE"}, "landlock_abi": 0, "machine": "x"}
    with pytest.raises(SandboxFault, match="possible \\['fork'\\]"):
        IsolationReport.from_ready(ready, strict=True)


def test_insecure_dev_is_weak_says_so_and_still_limits() -> None:
    with Jail(["act_guest"], isolation="insecure_dev") as jail:
        assert jail.report().profile == "weak"
        assert not jail.report().layers.get("seccomp")
        with jail.open("def act(o):\n    while True: pass", guest_module="act_guest", limits=SHORT) as run:
            policy = run.open_policy({})
            with pytest.raises(PolicyError) as caught:
                policy.ask(1)
    assert caught.value.failure.kind is FailureKind.CPU_LIMIT


def test_insecure_dev_is_refused_in_production() -> None:
    with pytest.raises(ValueError, match="refused in production"):
        Jail([], isolation="insecure_dev", production=True)


# --------------------------------------------------------------------------------------------- the system call filter

_HEADERS = {
    "x86_64": ["/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"],
    "aarch64": ["/usr/include/asm-generic/unistd.h"],
}
# a few by heart, for machines without the kernel's headers
_PINNED = {
    "x86_64": {"read": 0, "write": 1, "mmap": 9, "clone": 56, "execve": 59, "ptrace": 101, "seccomp": 317},
    "aarch64": {"read": 63, "write": 64, "mmap": 222, "clone": 220, "execve": 221, "ptrace": 117, "seccomp": 277},
}


@pytest.mark.parametrize("machine", TABLES)
def test_system_call_numbers_are_the_kernels(machine: str) -> None:
    table = TABLES[machine]
    assert _PINNED[machine].items() <= table.items()
    assert len(set(table.values())) == len(table)
    header = next((Path(name) for name in _HEADERS[machine] if Path(name).exists()), None)
    if header is not None:
        text = header.read_text()
        official = {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", text)}
        assert {name: official.get(name) for name in table} == table


def _verdict(program: bytes, data: bytes) -> int:
    """Interpret a classic BPF program over one struct seccomp_data."""
    instructions = list(struct.iter_unpack("<HBBI", program))
    accumulator, at = 0, 0
    while True:
        code, if_true, if_false, value = instructions[at]
        at += 1
        match code:
            case 0x20:
                accumulator = struct.unpack_from("<I", data, value)[0]
            case 0x54:
                accumulator &= value
            case 0x06:
                return int(value)
            case 0x15 | 0x35 | 0x45:
                holds = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[code]
                at += if_true if holds else if_false
            case _:
                raise AssertionError(f"unknown instruction {code:#x}")


KILL, ALLOW, REFUSE = 0x80000000, 0x7FFF0000, 0x00050000 | errno.EPERM


def _call(machine: str, number: int, *arguments: int, architecture: int | None = None) -> int:
    architecture = AUDIT_ARCHITECTURE[machine] if architecture is None else architecture
    padded = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    return _verdict(build_filter(machine), struct.pack("<iIQ6Q", number, architecture, 0, *padded))


@pytest.mark.parametrize("machine", TABLES)
def test_the_filter_allows_no_more_than_its_list(machine: str) -> None:
    table = TABLES[machine]
    narrowed = {"read", "write", "mmap", "mprotect", "futex", "madvise"}
    listed = {table[name] for name in {*ALLOWED, *narrowed}}
    killed = {table[name] for name in KILLED if name in table}
    for number in range(600):
        results = {_call(machine, number, *[value] * 6) for value in (0, 3, 9, 0x22, 2**32 - 1)}
        if number in killed:
            assert results == {KILL}
        elif number == table["clone3"]:
            assert results == {0x00050000 | errno.ENOSYS}
        elif number not in listed:
            assert results == {REFUSE}, number
    assert all(_call(machine, table[name]) == ALLOW for name in ALLOWED)


@pytest.mark.parametrize("machine", TABLES)
def test_the_filter_looks_at_arguments(machine: str) -> None:
    table = TABLES[machine]
    private, shared, anonymous, huge = 0x2, 0x1, 0x20, 0x40000
    read, write, execute = 1, 2, 4
    for call in ("read", "write"):
        assert [_call(machine, table[call], fd) for fd in (0, 1, 2, 3, 4, 2**32 - 1)] == [REFUSE] * 3 + [ALLOW] + [
            REFUSE
        ] * 2
    mmap = table["mmap"]
    assert _call(machine, mmap, 0, 4096, read | write, private | anonymous) == ALLOW
    for protection, flags in (
        (read | execute, private | anonymous),
        (read, private),
        (read, shared | anonymous),
        (read, private | anonymous | huge),
    ):
        assert _call(machine, mmap, 0, 4096, protection, flags) == REFUSE
    assert _call(machine, table["mprotect"], 0, 4096, read | write) == ALLOW
    assert _call(machine, table["mprotect"], 0, 4096, read | execute) == REFUSE
    assert [_call(machine, table["futex"], 0, operation | 128) for operation in (0, 1, 3, 9, 13)] == [
        ALLOW,
        ALLOW,
        REFUSE,
        ALLOW,
        REFUSE,
    ]
    assert _call(machine, table["read"], 3, architecture=0x40000003) == KILL


def test_the_filter_kills_the_other_abi_of_x86() -> None:
    assert _call("x86_64", 0x40000000 + TABLES["x86_64"]["read"], 3) == KILL


# -------------------------------------------------------------------------------------------------- with fewer rights

CANNOT = 77  # restricted.py could not make a mount namespace


def _restricted(*arguments: str, timeout: float) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-B", str(HERE / "restricted.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        cwd=HERE.parent.parent,
    )
    if done.returncode == CANNOT:
        pytest.skip(done.stderr)
    return done


def _start(*options: str) -> subprocess.CompletedProcess[str]:
    return _restricted(*options, "--", sys.executable, "-B", str(HERE / "start_once.py"), timeout=300)


@as_root
def test_all_attacks_fail_without_privileges() -> None:
    """The attack suite again: uid 10001, no capabilities, no user namespaces, no_new_privs."""
    attacks = [str(HERE / "test_attacks.py"), "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = _restricted("--", sys.executable, "-B", "-m", "pytest", *attacks, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert re.search(r"\d{3} passed", done.stdout)


@as_root
def test_the_jail_works_in_a_read_only_root() -> None:
    done = _start("--read-only")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "strict 10001 [1, 42]\n"


@as_root
def test_a_system_runs_its_model_and_policy_in_jails_as_in_a_pod() -> None:
    """What the Kubernetes verifier has: no root, no capability, a root that cannot be written."""
    done = _restricted("--read-only", "--", sys.executable, "-B", str(HERE / "system_once.py"), timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "tenants/smoke/failures strict 10001 equal",
        "balancer/steady strict 10001 equal",
    ]


@as_root
def test_without_seccomp_the_jail_does_not_start() -> None:
    done = _start("--deny", "seccomp")
    assert done.returncode == 1
    assert "SandboxFault: isolation is not complete: missing [seccomp: [Errno 1] seccomp" in done.stderr


@as_root
def test_without_landlock_the_jail_starts_and_says_so() -> None:
    done = _start("--deny", "landlock_create_ruleset")
    assert done.returncode == 0, done.stderr
    assert "no Landlock in this kernel" in done.stderr


@as_root
def test_without_pidfds_the_fork_server_kills_on_request() -> None:
    done = _start("--deny", "pidfd_open")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "strict 10001 [1, 42]\n"
