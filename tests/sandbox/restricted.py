"""Run a command as in a restricted pod, as root: ``restricted.py [--read-only] [--deny CALL]... -- command...``.

uid 10001, no groups, no capabilities and none to gain, no_new_privs, no user namespaces, a mount namespace of its own.
With ``--read-only`` its root, ``/tmp`` included, cannot be written. ``--deny`` makes one more system call fail.
Ends with status 77 where this machine does not let root make a mount namespace.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import struct
import sys
from pathlib import Path

from quintain_verifier.sandbox.inside.syscalls import MACHINE, TABLES

UID = 10001
_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 24, 38, 22
_CLONE_NEWNS = 0x00020000
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
_CANNOT = 77


def _must(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    names = source.encode(), target.encode(), kind.encode()
    _must(_LIBC.mount(*names, ctypes.c_ulong(flags), options.encode()), f"mount {target}")


def _make_interpreter_reachable() -> None:
    """Show the interpreter's folder, and nothing else, of a parent that others may not enter (a root's home)."""
    base = Path(sys.base_prefix).resolve()
    closed = [parent for parent in base.parents if not parent.stat().st_mode & 0o001]
    if closed:
        outermost = str(closed[-1])
        handle = os.open(base, os.O_PATH)
        _mount("tmpfs", outermost, "tmpfs", 0, "mode=755")
        base.mkdir(parents=True)
        _mount(f"/proc/self/fd/{handle}", str(base), "", _MS_BIND)
        os.close(handle)


def _make_own_mounts(read_only: bool) -> None:
    _must(_LIBC.unshare(_CLONE_NEWNS), "unshare")
    _mount("none", "/", "", _MS_REC | _MS_PRIVATE)
    _make_interpreter_reachable()
    if read_only:
        _mount("none", "/", "", _MS_REMOUNT | _MS_BIND | _MS_RDONLY)


def _deny(calls: list[str]) -> None:
    """EPERM for the calls; everything else goes through."""
    code = struct.pack("<HBBI", 0x20, 0, 0, 0)
    for call in calls:
        code += struct.pack("<HBBI", 0x15, 0, 1, TABLES[MACHINE][call]) + struct.pack("<HBBI", 0x06, 0, 0, 0x00050001)
    code += struct.pack("<HBBI", 0x06, 0, 0, 0x7FFF0000)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("<HxxxxxxQ", len(code) // 8, ctypes.addressof(buffer))
    _must(_LIBC.prctl(_PR_SET_SECCOMP, 2, ctypes.create_string_buffer(program), 0, 0), "seccomp")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--read-only", action="store_true")
    parser.add_argument("--deny", action="append", default=[])
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    try:
        _make_own_mounts(options.read_only)
    except OSError as error:
        print(f"no mount namespace: {error}", file=sys.stderr)
        sys.exit(_CANNOT)
    for capability in range(64):
        _LIBC.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # fails past the last one
    os.setgroups([])
    os.setresgid(UID, UID, UID)
    os.setresuid(UID, UID, UID)
    _must(_LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    _deny(["unshare", "setns", *options.deny])
    os.execvp(options.command[0], options.command)


if __name__ == "__main__":
    main()
