"""Runs a command that dies with its parent: ``python launch.py PARENT_PID PID_FILE COMMAND ARGUMENT...``.

Executed as a script, before any thread or gRPC exists in the process. On Linux the kernel sends SIGTERM when the parent
dies, however it dies; elsewhere only an orderly stop of the parent stops the command. The process id, which the command
keeps, is written to PID_FILE unless that is ``-``.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, pid_file, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        sys.exit(1)
    if pid_file != "-":
        Path(pid_file).write_text(str(os.getpid()))
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
