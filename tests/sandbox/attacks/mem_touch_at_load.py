"""fills memory while it is loaded"""
held = [bytearray(b'x' * (1 << 20)) for _ in range(4096)]
def act(obs):
    return 1
