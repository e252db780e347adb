"""a length just above the limit, and then nothing"""
import os, struct, json
def w(b):
    while b:
        b = b[os.write(3, b):]
def frame(b):
    return struct.pack('<I', len(b)) + b
def act(obs):
    w(struct.pack('<I', (1 << 20) + 1))
    while True:
        pass
