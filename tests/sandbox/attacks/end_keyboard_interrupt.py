"""raises KeyboardInterrupt"""
def act(obs):
    raise KeyboardInterrupt
