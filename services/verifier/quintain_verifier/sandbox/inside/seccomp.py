"""The system call filter: an allow-list, built as a classic BPF program for one architecture.

What an interpreter needs to compute and to talk over its channel is allowed, narrowed by argument. What no policy has
an honest reason for kills the process (SIGSYS, seen from outside). Everything else fails with EPERM.
"""

import errno
import struct

from quintain_verifier.sandbox.inside.control import CHANNEL_FD
from quintain_verifier.sandbox.inside.syscalls import AUDIT_ARCHITECTURE, TABLES

# struct seccomp_data: nr at 0, arch at 4, six 64-bit arguments from 16 (low words first)
_NR, _ARCHITECTURE = 0, 4


def _argument(index: int) -> int:
    return 16 + 8 * index


_LOAD, _EQUAL, _GREATER_EQUAL, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_KILL_PROCESS, _ALLOW = 0x80000000, 0x7FFF0000
_X32_BIT = 0x40000000

_PROT_EXEC = 0x4
_MAP_SHARED, _MAP_ANONYMOUS, _MAP_HUGETLB = 0x1, 0x20, 0x40000
_FUTEX_FLAGS = 128 | 256  # private, real-time clock
_FUTEXES = (0, 1, 9, 10)  # wait, wake, wait and wake by bitset
_ADVICE = (4, 8, 14)  # don't need, free, huge pages: what memory allocators say

ALLOWED = (
    "brk", "munmap", "mremap", "sched_yield", "exit", "exit_group", "rt_sigreturn", "restart_syscall",
)  # fmt: skip

KILLED = (
    "acct", "add_key", "bpf", "clock_adjtime", "clock_settime", "delete_module", "execve", "execveat", "fanotify_init",
    "finit_module", "fsconfig", "fsmount", "fsopen", "fspick", "init_module", "io_uring_enter", "io_uring_register",
    "io_uring_setup", "ioperm", "iopl", "kcmp", "kexec_file_load", "kexec_load", "keyctl", "landlock_add_rule",
    "memfd_secret", "mount", "mount_setattr", "move_mount", "modify_ldt", "open_by_handle_at", "open_tree",
    "perf_event_open", "pidfd_getfd", "pidfd_open", "pidfd_send_signal", "pivot_root", "pkey_mprotect",
    "process_madvise", "process_vm_readv", "process_vm_writev", "ptrace", "quotactl", "quotactl_fd", "reboot",
    "request_key", "seccomp", "setns", "settimeofday", "swapoff", "swapon", "umount2", "unshare", "userfaultfd",
)  # fmt: skip


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


def _give(action: int) -> bytes:
    return _instruction(_RETURN, action)


def _refuse(error: int) -> bytes:
    return _give(0x00050000 | error)


def _for_call(number: int, body: bytes) -> bytes:
    """`body` decides about this call; it must return on every path."""
    return _instruction(_EQUAL, number, 0, len(body) // 8) + body


def _one_of(offset: int, values: tuple[int, ...], mask: int = 0xFFFFFFFF) -> bytes:
    """Allow if the masked argument is one of `values`, else EPERM."""
    tests = b"".join(_instruction(_EQUAL, value, len(values) - i, 0) for i, value in enumerate(values))
    return _instruction(_LOAD, offset) + _instruction(_AND, mask) + tests + _refuse(errno.EPERM) + _give(_ALLOW)


def _private_data_only() -> bytes:
    """mmap: anonymous, private, no huge pages, never executable."""
    return (
        _instruction(_LOAD, _argument(2))
        + _instruction(_ANY_BIT, _PROT_EXEC, 4, 0)
        + _instruction(_LOAD, _argument(3))
        + _instruction(_ANY_BIT, _MAP_SHARED | _MAP_HUGETLB, 2, 0)
        + _instruction(_ANY_BIT, _MAP_ANONYMOUS, 0, 1)
        + _give(_ALLOW)
        + _refuse(errno.EPERM)
    )


def _never_executable() -> bytes:
    """mprotect without PROT_EXEC."""
    return (
        _instruction(_LOAD, _argument(2))
        + _instruction(_ANY_BIT, _PROT_EXEC, 0, 1)
        + _refuse(errno.EPERM)
        + _give(_ALLOW)
    )


def build_filter(machine: str) -> bytes:
    """The program for ``x86_64`` or ``aarch64``; raises KeyError for any other machine."""
    numbers = TABLES[machine]
    parts = [
        _instruction(_LOAD, _ARCHITECTURE),
        _instruction(_EQUAL, AUDIT_ARCHITECTURE[machine], 1, 0),
        _give(_KILL_PROCESS),  # a foreign ABI (int 0x80, 32-bit) has other numbers
        _instruction(_LOAD, _NR),
    ]
    if machine == "x86_64":
        parts += [_instruction(_GREATER_EQUAL, _X32_BIT, 0, 1), _give(_KILL_PROCESS)]
    parts += [
        _for_call(numbers["read"], _one_of(_argument(0), (CHANNEL_FD,))),
        _for_call(numbers["write"], _one_of(_argument(0), (CHANNEL_FD,))),
        _for_call(numbers["mmap"], _private_data_only()),
        _for_call(numbers["mprotect"], _never_executable()),
        _for_call(numbers["futex"], _one_of(_argument(1), _FUTEXES, 0xFFFFFFFF & ~_FUTEX_FLAGS)),
        _for_call(numbers["madvise"], _one_of(_argument(2), _ADVICE)),
        *(_for_call(numbers[name], _give(_ALLOW)) for name in ALLOWED),
        _for_call(numbers["clone3"], _refuse(errno.ENOSYS)),  # so that a C library falls back to clone, and fails there
        *(_for_call(numbers[name], _give(_KILL_PROCESS)) for name in KILLED if name in numbers),
        _refuse(errno.EPERM),
    ]
    return b"".join(parts)
