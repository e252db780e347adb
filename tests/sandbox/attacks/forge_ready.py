"""says again that it is locked down, with better layers"""
import os, struct, json
def w(b):
    while b:
        b = b[os.write(3, b):]
def frame(b):
    return struct.pack('<I', len(b)) + b
def act(obs):
    w(frame(b'["ready",{"layers":{"seccomp":true},"errors":{},"probes":{},"landlock_abi":9,"machine":"x"}]'))
    while True:
        pass
