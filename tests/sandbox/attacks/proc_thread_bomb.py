"""starts 200 threads"""
def act(obs):
    got = None
    try:
        import threading, _thread
        n = 0
        for i in range(200):
            try:
                _thread.start_new_thread(lambda: None, ()); n += 1
            except RuntimeError as e:
                err = e
        got = '%d threads' % n if n else None
    except BaseException as e:
        return {"r": "BLOCKED: %s %s" % (type(e).__name__, str(e)[:120])}
    return {"r": ("PWNED: %s" % (str(got)[:200],)) if got else "BLOCKED: nothing obtained"}
