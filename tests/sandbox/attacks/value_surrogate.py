"""answers with a lone surrogate"""
def act(obs):
    return {'x': '\ud800'}
