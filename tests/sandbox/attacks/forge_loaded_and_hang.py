"""says by itself that it is loaded, then computes for ever at module level"""
import os, struct, json
def w(b):
    while b:
        b = b[os.write(3, b):]
def frame(b):
    return struct.pack('<I', len(b)) + b
w(frame(b'["loaded",null]'))
while True:
    pass
