"""an exception whose text raises, of a class with a hostile metaclass"""
class M(type):
    def __getattribute__(cls, name):
        raise RuntimeError(name)
class E(Exception, metaclass=M):
    def __str__(self):
        raise SystemExit
def act(obs):
    raise E
