"""keeps every frame that its session sends, and sends the old ones again before it answers"""
import gc, os, struct
kept = []
def act(obs):
    if not kept:
        kept.append(b'["loaded",{"setup":{"step":0}}]')
    kept.append(b'["answer",{"x":%d}]' % obs['t'])
    for body in kept:
        os.write(3, struct.pack('<I', len(body)) + body)
    while True:
        pass
