"""Systems as packages: one engine for a simulator that somebody wrote in one file.

What a model and a policy import from here (`Event`, `Decision`, `Parameter`, `Rejected`) is standard library only; the
engine is never loaded beside them.
"""

from quintain_system.interface import Decision, Event, Parameter, Record, Rejected

__all__ = ["Decision", "Event", "Parameter", "Record", "Rejected"]
