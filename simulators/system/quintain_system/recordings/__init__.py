"""Recordings of real systems (or of simulators that stand for them): their form, what contradicts itself in them, and
which of them a model may be fitted to."""
