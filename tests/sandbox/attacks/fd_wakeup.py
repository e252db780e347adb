"""has signals written to its channel by the interpreter (set_wakeup_fd), and raises some"""
def act(obs):
    import signal
    done = []
    for attempt in (lambda: signal.set_wakeup_fd(3), lambda: signal.raise_signal(signal.SIGCHLD),
                    lambda: signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)):
        try:
            attempt(); done.append(1)
        except (OSError, ValueError):
            pass
    return {"r": "PWNED: %s" % done if done else "BLOCKED: none of them"}
