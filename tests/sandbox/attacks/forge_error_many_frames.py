"""an error frame with 5000 traceback lines"""
import os, struct, json
def w(b):
    while b:
        b = b[os.write(3, b):]
def frame(b):
    return struct.pack('<I', len(b)) + b
def act(obs):
    w(frame(json.dumps(['error', 'E', 'm', 1, [[1, 'f']] * 5000]).encode()))
    while True:
        pass
