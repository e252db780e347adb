"""the builtin that subprocess stands on, faulthandler's watchdog thread, and hooks around a fork"""
def act(obs):
    import os
    done = []
    def fork_exec():
        import _posixsubprocess
        _posixsubprocess.fork_exec([b'/bin/sh'], [b'/bin/sh'], True, (), None, None, -1, -1, -1, -1, -1, -1, -1, -1,
                                   False, False, 0, None, None, None, -1, None, False)
    def watchdog():
        import faulthandler
        faulthandler.dump_traceback_later(1, file=3)
    def hooks():
        os.register_at_fork(before=lambda: None)
        os.forkpty()
    for name, attempt in (('fork_exec', fork_exec), ('watchdog', watchdog), ('forkpty', hooks)):
        try:
            attempt(); done.append(name)
        except BaseException:
            pass
    return {"r": "PWNED: %s" % done if done else "BLOCKED: none of them"}
