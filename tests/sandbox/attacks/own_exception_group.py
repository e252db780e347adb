"""an exception group with 100 000 members and a text of megabytes"""
def act(obs):
    raise ExceptionGroup('x' * 5_000_000, [ValueError('y' * 100)] * 100_000)
