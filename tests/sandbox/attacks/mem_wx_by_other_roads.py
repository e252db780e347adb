"""executable memory by pkey_mprotect, shared mappings, remapping, a C callback"""
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
        l.mmap.restype = ctypes.c_void_p
        M = ctypes.c_void_p(-1).value
        done = []
        for prot, flags in ((5, 0x21), (7, 0x22), (4, 0x22), (3, 0x21), (3, 0x40022), (7, 0x100022)):
            if l.mmap(None, ctypes.c_size_t(4096), prot, flags, -1, ctypes.c_long(0)) not in (None, M):
                done.append((prot, flags))
        got = done
        if not got:
            p = l.mmap(None, ctypes.c_size_t(4096), 3, 0x22, -1, ctypes.c_long(0))
            got = 'pkey' if l.syscall(329, ctypes.c_void_p(p), ctypes.c_size_t(4096), 5, -1) == 0 else None
    except BaseException as e:
        return {"r": "BLOCKED: %s %s" % (type(e).__name__, str(e)[:120])}
    return {"r": ("PWNED: %s" % (str(got)[:200],)) if got else "BLOCKED: nothing obtained"}
