"""A job of known length before a deadline, on spot or on-demand machines.

Nothing is imported here: the guest module must be importable without the engine.
"""
