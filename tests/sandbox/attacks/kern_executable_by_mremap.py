"""moves and grows executable pages of the C library by mremap, then writes to them"""
def act(obs):
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    page = ctypes.cast(libc.getpid, ctypes.c_void_p).value & ~4095
    u = ctypes.c_ulong
    moved = libc.syscall(ctypes.c_long(25), u(page), u(4096), u(4096), u(1 | 4), u(0))  # may move, keep the old one
    grown = libc.syscall(ctypes.c_long(25), u(page), u(0), u(4096), u(1), u(0))  # a second mapping of the same page
    writable = [a for a in (moved, grown) if a > 0 and libc.mprotect(u(a), u(4096), 7) == 0]
    return {"r": "PWNED: %s" % writable if writable else "BLOCKED: %s %s" % (moved, grown)}
