"""io_uring_setup: system calls without system calls"""
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
        p = ctypes.create_string_buffer(256)
        got = 'ring %d' % s(425, 8, p)
    except BaseException as e:
        return {"r": "BLOCKED: %s %s" % (type(e).__name__, str(e)[:120])}
    return {"r": ("PWNED: %s" % (str(got)[:200],)) if got else "BLOCKED: nothing obtained"}
