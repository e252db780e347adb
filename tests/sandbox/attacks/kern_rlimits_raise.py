"""raises its own limits (setrlimit, prlimit64)"""
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
        import resource
        done = []
        for w in (resource.RLIMIT_CPU, resource.RLIMIT_AS, resource.RLIMIT_NOFILE):
            for f in (lambda: resource.setrlimit(w, (-1, -1)), lambda: resource.prlimit(0, w, (-1, -1))):
                try:
                    f(); done.append(w)
                except (OSError, ValueError):
                    pass
        got = done
    except BaseException as e:
        return {"r": "BLOCKED: %s %s" % (type(e).__name__, str(e)[:120])}
    return {"r": ("PWNED: %s" % (str(got)[:200],)) if got else "BLOCKED: nothing obtained"}
