"""What can go wrong that is nobody's policy's fault."""


class SandboxFault(Exception):
    """The jail itself is in trouble: it cannot start, a fork server died in the middle of a run, a layer is missing.

    Says nothing about the policy: retry it, never cache it, never count it.
    """


class RunCancelled(Exception):
    """The run was cancelled by its owner, from another thread."""
