"""futex operations with a history: requeue, priority inheritance, wait on several"""
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
        w = (ctypes.c_uint32 * 4)()
        done = [op for op in (3, 4, 5, 6, 7, 8, 11, 12, 13) if l.syscall(202, w, op, 0, 0, w, 0) >= 0]
        if l.syscall(449, w, 0, 0, 0, 0) >= 0:
            done.append('waitv')
        got = done
    except BaseException as e:
        return {"r": "BLOCKED: %s %s" % (type(e).__name__, str(e)[:120])}
    return {"r": ("PWNED: %s" % (str(got)[:200],)) if got else "BLOCKED: nothing obtained"}
