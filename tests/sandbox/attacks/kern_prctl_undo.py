"""prctl: dumpable again, another seccomp mode, a new name"""
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
        done = []
        for op, v in ((4, 1), (22, 1), (15, b'kworker'), (38, 0), (65, 0), (1, 0), (28, 0)):
            if l.prctl(op, v, 0, 0, 0) == 0:
                done.append(op)
        got = done
    except BaseException as e:
        return {"r": "BLOCKED: %s %s" % (type(e).__name__, str(e)[:120])}
    return {"r": ("PWNED: %s" % (str(got)[:200],)) if got else "BLOCKED: nothing obtained"}
