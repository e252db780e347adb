"""asks the engine for ever"""
def act(obs):
    while True:
        query(obs)
