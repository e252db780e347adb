"""allowed calls with a forbidden argument hidden in the upper or lower half of a register"""
def act(obs):
    import ctypes, errno
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    high, u = 1 << 32, ctypes.c_ulong
    tries = {
        'read stdin': (0, u(high), 0, u(0)),
        'write stdout': (1, u(high + 1), b'x', u(1)),
        'shared memory': (9, u(0), u(4096), u(3), u(0x21 | high), u(2**64 - 1), u(0)),
        'executable memory': (9, u(0), u(4096), u(7 | high), u(0x22), u(2**64 - 1), u(0)),
        'a file mapped': (9, u(0), u(4096), u(1), u(0x02 | 0x20 * high), u(3), u(0)),
        'requeue': (202, 0, u(3 | 128), u(1), 0, 0, 0),
        'populate by madvise': (28, u(0), u(4096), u(23)),
    }
    got = []
    for name, arguments in tries.items():
        ctypes.set_errno(0)
        result = call(ctypes.c_long(arguments[0]), *arguments[1:])
        if result >= 0 or ctypes.get_errno() != errno.EPERM:
            got.append((name, result, ctypes.get_errno()))
    return {"r": "PWNED: %s" % got if got else "BLOCKED: all of them"}
