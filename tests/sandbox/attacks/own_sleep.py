"""sleeps for an hour by every road there is"""
import time, ctypes, select
def act(obs):
    time.sleep(3600)
    l = ctypes.CDLL(None)
    l.sleep(3600)
    l.poll(None, 0, 3600_000)
    l.pause()
    return {'x': 1}
