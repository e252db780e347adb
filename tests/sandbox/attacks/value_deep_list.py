"""answers with a list nested in itself 100 000 times"""
def act(obs):
    x = []
    for _ in range(100_000):
        x = [x]
    return x
