"""mkdir, unlink, chmod, rename, chdir, umask, utime, listdir"""
def act(obs):
    got = None
    try:
        import os
        done = []
        for f in (lambda: os.mkdir('/tmp/attack-run/d'), lambda: os.unlink('/tmp/attack-run/secret.txt'), lambda: os.chmod('/tmp/attack-run', 0), lambda: os.rename('/tmp/attack-run/secret.txt', '/tmp/attack-run/pwned'), lambda: os.chdir('/tmp'), lambda: os.utime('/tmp/attack-run'), lambda: os.listdir('/'), lambda: os.symlink('/etc', '/tmp/attack-run/pwned'), lambda: os.getcwd(), lambda: os.statvfs('/'), lambda: os.mkfifo('/tmp/attack-run/pwned')):
            try:
                f(); done.append(f)
            except OSError:
                pass
        got = done
    except BaseException as e:
        return {"r": "BLOCKED: %s %s" % (type(e).__name__, str(e)[:120])}
    return {"r": ("PWNED: %s" % (str(got)[:200],)) if got else "BLOCKED: nothing obtained"}
