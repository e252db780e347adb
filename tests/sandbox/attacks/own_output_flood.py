"""answers of legal size that add up"""
def act(obs):
    for _ in range(100_000):
        query('x' * 200_000)
