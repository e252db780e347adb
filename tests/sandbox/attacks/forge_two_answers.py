"""two answers in one piece"""
import os, struct, json
def w(b):
    while b:
        b = b[os.write(3, b):]
def frame(b):
    return struct.pack('<I', len(b)) + b
def act(obs):
    w(frame(b'["answer",1]') * 2)
    while True:
        pass
