"""abort() in the C library"""
import ctypes
def act(obs):
    ctypes.CDLL(None).abort()
