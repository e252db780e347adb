"""a callback of the garbage collector that never returns"""
import gc
def act(obs):
    def callback(phase, info):
        while True:
            pass
    gc.callbacks.append(callback)
    gc.collect()
