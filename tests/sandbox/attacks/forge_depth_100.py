"""arrays 100 deep"""
import os, struct, json
def w(b):
    while b:
        b = b[os.write(3, b):]
def frame(b):
    return struct.pack('<I', len(b)) + b
def act(obs):
    w(frame(b'["answer",' + b'[' * 100 + b']' * 100 + b']'))
    while True:
        pass
