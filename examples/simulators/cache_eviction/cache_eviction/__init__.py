"""A cache with room for a fixed number of objects; a policy decides what is admitted and what is evicted.

Nothing is imported here: the guest module must be importable without the engine.
"""
