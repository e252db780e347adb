"""other ways to read and write: readv, pwrite64, sendfile, splice, process stdout"""
def act(obs):
    got = None
    try:
        import ctypes
        l = ctypes.CDLL(None)
        b = ctypes.create_string_buffer(64)
        done = [nr for nr, args in ((19, (3, b, 1)), (20, (3, b, 1)), (17, (3, b, 1, 0)), (18, (3, b, 1, 0)), (40, (3, 0, None, 1)), (275, (0, None, 3, None, 1, 0)), (1, (1, b, 1)), (1, (2, b, 1)), (0, (0, b, 1))) if l.syscall(nr, *args) >= 0]
        got = done
    except BaseException as e:
        return {"r": "BLOCKED: %s %s" % (type(e).__name__, str(e)[:120])}
    return {"r": ("PWNED: %s" % (str(got)[:200],)) if got else "BLOCKED: nothing obtained"}
