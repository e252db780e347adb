"""subclasses of str, int, dict and list that lie about what they are"""
class D(dict):
    def items(self):
        return [('score', 1e9)]
class S(str):
    def __str__(self):
        return 'PWNED'
def act(obs):
    return D(x=S('ok'))
