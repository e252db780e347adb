"""the vsyscall page of x86: calls outside every library"""
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
        f = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_void_p)(0xffffffffff600400)
        r = f(None)
        got = 'time %d' % r if r > 0 else None
    except BaseException as e:
        return {"r": "BLOCKED: %s %s" % (type(e).__name__, str(e)[:120])}
    return {"r": ("PWNED: %s" % (str(got)[:200],)) if got else "BLOCKED: nothing obtained"}
