"""fills memory to the last byte with small objects and keeps them in a global"""
held = []
def act(obs):
    while True:
        held.append([held])
