"""an answer and the beginning of the next"""
import os, struct, json
def w(b):
    while b:
        b = b[os.write(3, b):]
def frame(b):
    return struct.pack('<I', len(b)) + b
def act(obs):
    w(frame(b'["answer",1]') + b'\x05')
    while True:
        pass
