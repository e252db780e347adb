"""First in, first out: evicts the object that came first, however often it was asked for since."""

from collections import deque


def start(cache):
    cache.line = deque()


def on_insert(cache, key):
    cache.line.append(key)


def evict(cache, key):
    return cache.line.popleft()
