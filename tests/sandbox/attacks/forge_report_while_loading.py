"""while it is loaded: a report with every layer, as if the child had only just been locked down"""
import os, struct
body = (b'["ready",{"layers":{"seccomp":true,"landlock":true},"errors":{},"probes":{"fork":"EPERM"},'
        b'"landlock_abi":9,"machine":"x86_64"}]')
os.write(3, struct.pack('<I', len(body)) + body)
def act(obs):
    return {'x': 1}
