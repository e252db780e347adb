"""memory that RLIMIT_AS does not count: mlock, message queues, posix shared memory"""
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
        if l.mlockall(3) == 0:
            done.append('mlockall')
        if l.syscall(240, b'/q', 0o102, 0o600, None) >= 0:
            done.append('mq')
        if l.shm_open(b'/quintain-attack', 0o102, 0o600) >= 0:
            done.append('shm')
        got = done
    except BaseException as e:
        return {"r": "BLOCKED: %s %s" % (type(e).__name__, str(e)[:120])}
    return {"r": ("PWNED: %s" % (str(got)[:200],)) if got else "BLOCKED: nothing obtained"}
