"""asks a question of 20 MB"""
def act(obs):
    return query('x' * 20_000_000)
