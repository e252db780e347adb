"""writes its own read-only memory through /proc/self/mem"""
def act(obs):
    got = None
    try:
        f = open('/proc/self/mem', 'r+b', 0)
        got = 'opened'
    except BaseException as e:
        return {"r": "BLOCKED: %s %s" % (type(e).__name__, str(e)[:120])}
    return {"r": ("PWNED: %s" % (str(got)[:200],)) if got else "BLOCKED: nothing obtained"}
