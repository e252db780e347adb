"""raises its priority, pins itself and its parent to processors"""
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
        import os
        done = []
        for n, f in (('nice', lambda: os.nice(-5)), ('affinity', lambda: os.sched_setaffinity(0, {0})), ('parent', lambda: os.setpriority(0, os.getppid(), 19)), ('rt', lambda: os.sched_setscheduler(0, 1, os.sched_param(1)))):
            try:
                f(); done.append(n)
            except OSError:
                pass
        got = done
    except BaseException as e:
        return {"r": "BLOCKED: %s %s" % (type(e).__name__, str(e)[:120])}
    return {"r": ("PWNED: %s" % (str(got)[:200],)) if got else "BLOCKED: nothing obtained"}
