"""The messages between the service and a fork server: of fixed size, so that a descriptor travels with its own.

Service to server: FORK (with the child's channel attached), KILL. Server to service: FORKED (with a pidfd attached
where the kernel has them), EXITED. `run` is the service's number for the run. Before these the server says one JSON
line: hello.
"""

import struct

FORK, KILL, FORKED, EXITED = b"F", b"K", b"S", b"X"

REQUEST = struct.Struct("<cxxxIQQ")  # FORK: run, cpu seconds, memory bytes. KILL: run, 0, 0
NOTICE = struct.Struct("<cxxxIiidQ")  # EXITED: run, pid, wait status, cpu seconds, max RSS bytes. FORKED: run, pid, 0s
HELLO_BYTES = 64 << 10  # the largest hello

CHANNEL_FD = 3  # the child's end of the channel to the engine
MAX_DESCRIPTORS = 64  # of a fork server; children need none beyond the channel
