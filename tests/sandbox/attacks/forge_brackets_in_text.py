"""thousands of brackets, but inside a string"""
import os, struct, json
def w(b):
    while b:
        b = b[os.write(3, b):]
def frame(b):
    return struct.pack('<I', len(b)) + b
def act(obs):
    import sys
    return '[{' * 5000
