"""a length of 4 GiB"""
import os, struct, json
def w(b):
    while b:
        b = b[os.write(3, b):]
def frame(b):
    return struct.pack('<I', len(b)) + b
def act(obs):
    w(b'\xff\xff\xff\xff')
    while True:
        pass
