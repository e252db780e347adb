"""answers with an integer that no double holds: whoever computes with it in floats falls over"""
def act(obs):
    return {'cpu': 10 ** 400}
