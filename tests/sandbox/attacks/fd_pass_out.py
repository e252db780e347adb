"""sends and receives descriptors over its channel (SCM_RIGHTS)"""
def act(obs):
    got = None
    try:
        import ctypes
        l = ctypes.CDLL(None)
        b = ctypes.create_string_buffer(64)
        done = [n for n, r in (('sendmsg', l.sendmsg(3, b, 0)), ('recvmsg', l.recvmsg(3, b, 0x40)), ('send', l.send(3, b'x', 1, 0)), ('recv', l.recv(3, b, 1, 0x40))) if r >= 0]
        got = done
    except BaseException as e:
        return {"r": "BLOCKED: %s %s" % (type(e).__name__, str(e)[:120])}
    return {"r": ("PWNED: %s" % (str(got)[:200],)) if got else "BLOCKED: nothing obtained"}
