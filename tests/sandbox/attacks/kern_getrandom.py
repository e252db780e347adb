"""getrandom and /dev/urandom: real entropy"""
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
        b = ctypes.create_string_buffer(16)
        got = 'entropy' if l.getrandom(b, 16, 0) > 0 or l.syscall(318, b, 16, 1) > 0 else None
        if not got:
            got = open('/dev/urandom', 'rb').read(4)
    except BaseException as e:
        return {"r": "BLOCKED: %s %s" % (type(e).__name__, str(e)[:120])}
    return {"r": ("PWNED: %s" % (str(got)[:200],)) if got else "BLOCKED: nothing obtained"}
