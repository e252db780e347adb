"""an answer that begins with a byte order mark"""
import os, struct
def act(obs):
    body = b'\xef\xbb\xbf["answer",1]'
    os.write(3, struct.pack('<I', len(body)) + body)
    while True:
        pass
