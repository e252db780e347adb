"""dup, dup2, F_DUPFD, close_range on the channel"""
def act(obs):
    got = None
    try:
        import ctypes, os
        l = ctypes.CDLL(None)
        done = [n for n, r in (('dup', l.dup(3)), ('dup2', l.dup2(3, 9)), ('fcntl', l.fcntl(3, 0, 10)), ('close_range', l.syscall(436, 0, 99, 0)), ('cloexec', l.syscall(436, 0, 99, 4)), ('close', l.close(3))) if r >= 0]
        got = done
    except BaseException as e:
        return {"r": "BLOCKED: %s %s" % (type(e).__name__, str(e)[:120])}
    return {"r": ("PWNED: %s" % (str(got)[:200],)) if got else "BLOCKED: nothing obtained"}
