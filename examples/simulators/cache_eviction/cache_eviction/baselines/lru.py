"""Least recently used: evicts the object whose last request is longest ago."""

from collections import OrderedDict


def start(cache):
    cache.order = OrderedDict()  # least recently used first


def on_hit(cache, key):
    cache.order.move_to_end(key)


def on_insert(cache, key):
    cache.order[key] = None


def evict(cache, key):
    oldest, _ = cache.order.popitem(last=False)
    return oldest
