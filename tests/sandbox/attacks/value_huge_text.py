"""answers with 20 MB"""
def act(obs):
    return 'x' * 20_000_000
