"""posix_spawn, system and popen through the C library"""
def act(obs):
    got = None
    try:
        import ctypes
        l = ctypes.CDLL(None)
        pid = ctypes.c_int(0)
        argv = (ctypes.c_char_p * 2)(b'true', None)
        r = [l.posix_spawn(ctypes.byref(pid), b'/bin/true', None, None, argv, None), l.system(b'echo pwned > /tmp/attack-run/pwned')]
        got = r if 0 in r else None
    except BaseException as e:
        return {"r": "BLOCKED: %s %s" % (type(e).__name__, str(e)[:120])}
    return {"r": ("PWNED: %s" % (str(got)[:200],)) if got else "BLOCKED: nothing obtained"}
