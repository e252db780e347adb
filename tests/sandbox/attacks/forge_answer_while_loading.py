"""answers before it is asked"""
import os, struct, json
def w(b):
    while b:
        b = b[os.write(3, b):]
def frame(b):
    return struct.pack('<I', len(b)) + b
w(frame(b'["answer",1]'))
def act(obs):
    return 1
