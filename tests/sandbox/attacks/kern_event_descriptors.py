"""eventfd, epoll, timerfd, signalfd, inotify: descriptors that hold kernel memory"""
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
        for nr, args in ((290, (0, 0)), (291, (0,)), (283, (1, 0)), (289, (-1, b'\0' * 8, 8, 0)), (294, (0,)), (332, (0, 0, 0, 0, 0))):
            if l.syscall(nr, *args) >= 0:
                done.append(nr)
        got = done
    except BaseException as e:
        return {"r": "BLOCKED: %s %s" % (type(e).__name__, str(e)[:120])}
    return {"r": ("PWNED: %s" % (str(got)[:200],)) if got else "BLOCKED: nothing obtained"}
