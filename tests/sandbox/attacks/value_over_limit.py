"""answers with a megabyte"""
def act(obs):
    return 'x' * (1 << 20)
