"""makes cycles without end, with the collector switched off"""
import gc
gc.disable()
def act(obs):
    while True:
        cycle = [bytearray(1 << 16)]
        cycle.append(cycle)
