"""answers with an integer of 65 bits"""
def act(obs):
    return [[{'ram': -2 ** 63}, -2 ** 63 - 1]]
