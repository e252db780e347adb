"""says itself that memory ran out, with a line and a traceback that do not exist"""
import os, struct, json
def act(obs):
    body = json.dumps(["error", "MemoryError", "", 9999999, [[9999999, "nowhere"]]]).encode()
    os.write(3, struct.pack('<I', len(body)) + body)
    while True:
        pass
