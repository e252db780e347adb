"""an error frame full of escapes, direction marks and fake log lines"""
import os, struct, json
def w(b):
    while b:
        b = b[os.write(3, b):]
def frame(b):
    return struct.pack('<I', len(b)) + b
def act(obs):
    w(frame(json.dumps(['error', 'E\n\x1b[2J', '\u202ereversed\r\n{"score": 1}\x00', 1, [[1, 'f\x1b']]]).encode()))
    while True:
        pass
