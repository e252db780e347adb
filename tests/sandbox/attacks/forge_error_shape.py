"""an error frame with a line that is a list and frames that are not frames"""
import os, struct, json
def w(b):
    while b:
        b = b[os.write(3, b):]
def frame(b):
    return struct.pack('<I', len(b)) + b
def act(obs):
    w(frame(b'["error","E","m",[1],[[1,"a"]]]'))
    while True:
        pass
