"""answers with a list that contains itself"""
def act(obs):
    x = []
    x.append(x)
    return x
