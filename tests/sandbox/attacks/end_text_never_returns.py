"""an exception whose text takes for ever"""
class E(Exception):
    def __str__(self):
        while True:
            pass
def act(obs):
    raise E
