"""The layers that a child puts on itself before it sees a policy, and the probes that show that they hold. Raw ctypes.

Each layer is a function that raises OSError when the kernel refuses. `lock_down` applies them one by one and reports;
whether what is missing is tolerable is the service's decision (and, for the required ones, the child's too).
"""

import ctypes
import errno
import os
import resource
import signal
import struct
import sys
from collections.abc import Callable

from quintain_verifier.sandbox.inside.control import CHANNEL_FD, MAX_DESCRIPTORS
from quintain_verifier.sandbox.inside.seccomp import build_filter
from quintain_verifier.sandbox.inside.syscalls import MACHINE, TABLES

REQUIRED = ("descriptors", "undumpable", "no_new_privs", "rlimits", "seccomp")

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long
_LIBC.mmap.restype = ctypes.c_void_p
_NUMBERS = TABLES.get(MACHINE, {})
LINUX = sys.platform == "linux"

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS, _PR_SET_MDWE = 1, 4, 38, 65
_PR_MDWE_REFUSE_EXEC_GAIN = 1
_SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_TSYNC = 1, 1
_CAPABILITY_VERSION_3 = 0x20080522
_MIB = 1 << 20


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def _syscall(name: str, *arguments: object) -> int:
    if name not in _NUMBERS:
        raise OSError(errno.ENOSYS, f"{name}: unknown on {MACHINE}")
    return int(_LIBC.syscall(ctypes.c_long(_NUMBERS[name]), *arguments))


def _prctl(option: int, value: int) -> None:
    if not LINUX:
        raise OSError(errno.ENOSYS, "prctl: not Linux")
    zero = ctypes.c_ulong(0)
    _check(_LIBC.prctl(ctypes.c_int(option), ctypes.c_ulong(value), zero, zero, zero), f"prctl {option}")


# ------------------------------------------------------------------------------------------------------------ layers


def die_with_parent() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def forbid_dumps() -> None:
    """Not dumpable: nobody of the same uid can read this process's memory or /proc entries."""
    _prctl(_PR_SET_DUMPABLE, 0)


def prefer_in_oom() -> None:
    """Out of memory, the kernel takes this process and its children, not the engine. Before `forbid_dumps`: after it
    the file belongs to root."""
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")


def isolate_descriptors(channel: int) -> None:
    """Leave /dev/null as 0, 1, 2 (the server's stdin is that) and the channel as CHANNEL_FD; a session of its own."""
    os.setsid()
    os.dup2(channel, CHANNEL_FD)
    os.dup2(0, 1)
    os.dup2(0, 2)
    os.closerange(CHANNEL_FD + 1, MAX_DESCRIPTORS)


def _no_new_privs() -> None:
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def _drop_capabilities() -> None:
    header = struct.pack("<Ii", _CAPABILITY_VERSION_3, 0)
    _check(_syscall("capset", header, bytes(24)), "capset")


def _refuse_executable_memory() -> None:
    _prctl(_PR_SET_MDWE, _PR_MDWE_REFUSE_EXEC_GAIN)


def _set_limit(name: str, value: int) -> None:
    """Soft = hard: what goes over is killed, without a signal that it could catch."""
    which = getattr(resource, name)
    hard = resource.getrlimit(which)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))
    if resource.getrlimit(which) != (value, value):
        raise OSError(errno.EINVAL, f"{name} was not taken")


def _rlimits(cpu_seconds: int, memory_bytes: int) -> None:
    _set_limit("RLIMIT_CORE", 0)
    _set_limit("RLIMIT_FSIZE", 0)
    _set_limit("RLIMIT_CPU", cpu_seconds)
    _set_limit("RLIMIT_AS", memory_bytes)
    _set_limit("RLIMIT_NOFILE", 0)  # last: no descriptor can be made after it


def _minor_rlimits() -> None:
    """Walls behind walls; each on its own, since some kernels refuse some."""
    refused = []
    for name in ("RLIMIT_NPROC", "RLIMIT_MEMLOCK", "RLIMIT_MSGQUEUE", "RLIMIT_SIGPENDING"):
        try:
            _set_limit(name, 0)
        except (OSError, ValueError, AttributeError):
            refused.append(name)
    if refused:
        raise OSError(errno.EPERM, f"refused: {', '.join(refused)}")


def landlock_abi() -> int:
    """The kernel's Landlock version, 0 without it."""
    if not LINUX or "landlock_create_ruleset" not in _NUMBERS:
        return 0
    return max(0, _syscall("landlock_create_ruleset", None, ctypes.c_size_t(0), ctypes.c_uint(1)))


def _landlock(abi: int) -> None:
    """A ruleset that handles every right this kernel knows and grants none."""
    if abi < 1:
        raise OSError(errno.ENOSYS, "no Landlock in this kernel")
    file_rights = (1 << 13) - 1
    file_rights |= 1 << 13 if abi >= 2 else 0  # refer
    file_rights |= 1 << 14 if abi >= 3 else 0  # truncate
    file_rights |= 1 << 15 if abi >= 5 else 0  # ioctl on devices
    network_rights = 0b11 if abi >= 4 else 0  # bind and connect TCP
    scopes = 0b11 if abi >= 6 else 0  # abstract sockets, signals
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    rules = struct.pack("<QQQ", file_rights, network_rights, scopes)[:size]
    ruleset = _check(
        _syscall("landlock_create_ruleset", rules, ctypes.c_size_t(size), ctypes.c_uint(0)), "landlock_create_ruleset"
    )
    try:
        _check(_syscall("landlock_restrict_self", ctypes.c_int(ruleset), ctypes.c_uint(0)), "landlock_restrict_self")
    finally:
        os.close(ruleset)


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


# Built once, before the children that put it on: what they compute themselves costs pages of their own.
_FILTER = build_filter(MACHINE) if MACHINE in TABLES else b""
_FILTER_BUFFER = ctypes.create_string_buffer(_FILTER, len(_FILTER))
_PROGRAM = _Program(len(_FILTER) // 8, ctypes.addressof(_FILTER_BUFFER))


def _seccomp() -> None:
    if not _FILTER:
        raise OSError(errno.ENOSYS, f"seccomp: no filter for {MACHINE}")
    # TSYNC returns the id of a thread that could not be filtered: anything but 0 is a failure
    mode, flags = ctypes.c_uint(_SECCOMP_SET_MODE_FILTER), ctypes.c_uint(_SECCOMP_FILTER_FLAG_TSYNC)
    result = _syscall("seccomp", mode, flags, ctypes.byref(_PROGRAM))
    if _check(result, "seccomp") != 0:
        raise OSError(errno.EBUSY, "seccomp: a thread was not filtered")


def lock_down(
    channel: int, cpu_seconds: int, memory_bytes: int, *, confine: bool, abi: int
) -> tuple[dict[str, bool], dict[str, str]]:
    """Apply the layers in the order that they need -> (layer: active, layer: why not). With `confine` false only
    descriptors and rlimits are touched: what any Unix can do."""
    steps: list[tuple[str, Callable[[], None]]] = [("descriptors", lambda: isolate_descriptors(channel))]
    if confine:
        steps += [
            ("parent_death_signal", die_with_parent),
            ("undumpable", forbid_dumps),
            ("no_new_privs", _no_new_privs),
            ("capabilities_dropped", _drop_capabilities),
            ("landlock", lambda: _landlock(abi)),
            ("memory_deny_write_execute", _refuse_executable_memory),
            ("minor_rlimits", _minor_rlimits),
        ]
    steps.append(("rlimits", lambda: _rlimits(cpu_seconds, memory_bytes)))
    if confine:
        steps.append(("seccomp", _seccomp))
    active: dict[str, bool] = {}
    errors: dict[str, str] = {}
    for name, apply in steps:
        try:
            apply()
        except (OSError, ValueError, AttributeError) as error:
            active[name], errors[name] = False, str(error)[:200]
        else:
            active[name] = True
    return active, errors


# ------------------------------------------------------------------------------------------------------------ probes


def probe(parent: int) -> dict[str, str]:
    """Try what must be impossible -> {attempt: errno name, or "POSSIBLE"}. Linux only; before any untrusted code."""

    def name(result: int) -> str:
        return "POSSIBLE" if result >= 0 else errno.errorcode.get(ctypes.get_errno(), "unknown errno")

    zero = ctypes.c_int(0)
    found = {"open_file": name(_syscall("openat", ctypes.c_int(-100), b"/proc/self/status", zero, zero))}
    found["open_socket"] = name(_syscall("socket", ctypes.c_int(2), ctypes.c_int(1), zero))
    found["signal_parent"] = name(_LIBC.kill(ctypes.c_int(parent), zero))
    child = _syscall("clone", ctypes.c_ulong(signal.SIGCHLD), None, None, None, None)
    if child == 0:
        os._exit(0)
    found["fork"] = name(child)
    address = _LIBC.mmap(None, ctypes.c_size_t(4096), 7, 0x22, -1, ctypes.c_long(0))
    found["executable_memory"] = name(-1 if address in (None, ctypes.c_void_p(-1).value) else 0)
    return found
