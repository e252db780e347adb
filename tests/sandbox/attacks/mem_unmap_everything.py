"""unmaps its own memory"""
import ctypes
def act(obs):
    l = ctypes.CDLL(None)
    l.munmap(ctypes.c_void_p(id(None) & ~4095), ctypes.c_size_t(4096))
    return None
