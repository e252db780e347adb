"""answers with an integer too long to be written"""
def act(obs):
    return 10 ** 5000
