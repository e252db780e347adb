"""returns from a signal that never came: registers from the policy's own stack"""
def act(obs):
    import ctypes
    ctypes.CDLL(None).syscall(ctypes.c_long(15))
    return {"r": "BLOCKED: came back"}
