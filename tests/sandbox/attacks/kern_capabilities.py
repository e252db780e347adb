"""takes its capabilities back with capset, setuid, setgroups"""
def act(obs):
    got = None
    try:
        import ctypes
        l = ctypes.CDLL(None, use_errno=True)
        def s(*a):
            r = l.syscall(*a)
            if r < 0:
                raise OSError(ctypes.get_errno(), 'call %d' % a[0])
            return r
        import struct
        h = struct.pack('Ii', 0x20080522, 0)
        full = b'\xff' * 24
        done = [n for n, r in (('capset', l.syscall(126, h, full)), ('setuid', l.setuid(0)), ('setgroups', l.setgroups(0, None))) if r == 0]
        got = done
    except BaseException as e:
        return {"r": "BLOCKED: %s %s" % (type(e).__name__, str(e)[:120])}
    return {"r": ("PWNED: %s" % (str(got)[:200],)) if got else "BLOCKED: nothing obtained"}
