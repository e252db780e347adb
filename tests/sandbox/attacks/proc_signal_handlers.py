"""installs signal handlers and an alternate stack to survive its end"""
def act(obs):
    got = None
    try:
        import signal, ctypes
        done = []
        for n in (11, 15, 24, 31):
            try:
                signal.signal(n, lambda *a: None); done.append(n)
            except (OSError, ValueError):
                pass
        if ctypes.CDLL(None).sigaltstack(None, ctypes.create_string_buffer(24)) == 0:
            done.append('altstack')
        got = done
    except BaseException as e:
        return {"r": "BLOCKED: %s %s" % (type(e).__name__, str(e)[:120])}
    return {"r": ("PWNED: %s" % (str(got)[:200],)) if got else "BLOCKED: nothing obtained"}
