"""an integer of 200 000 digits"""
import os, struct, json
def w(b):
    while b:
        b = b[os.write(3, b):]
def frame(b):
    return struct.pack('<I', len(b)) + b
def act(obs):
    w(frame(b'["answer",' + b'9' * 200000 + b']'))
    while True:
        pass
