"""catches every MemoryError and goes on"""
def act(obs):
    held = []
    while True:
        try:
            held.append(bytearray(1 << 20))
        except MemoryError:
            pass
