"""gigabytes by one format specification"""
def act(obs):
    return len('%04000000000d' % 1 + format(1, '>3000000000'))
