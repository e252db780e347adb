"""Test guest: the policy defines ``act(message)`` and may call ``query(question)``."""


class Session:
    def __init__(self, act, info):
        self.answer = act
        self.info = info


def load(source, setup, query):
    namespace = {"__name__": "policy", "query": query, "setup": setup}
    exec(compile(source, "policy.py", "exec"), namespace)
    return Session(namespace["act"], {"setup": setup})
