"""a kind that does not exist"""
import os, struct, json
def w(b):
    while b:
        b = b[os.write(3, b):]
def frame(b):
    return struct.pack('<I', len(b)) + b
def act(obs):
    w(frame(b'["verdict",{"score":1}]'))
    while True:
        pass
