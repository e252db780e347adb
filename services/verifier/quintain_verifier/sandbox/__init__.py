"""The jail: runs a hostile policy in a locked-down child process and talks to it over a pipe.

`limits` (every limit and its unit) and `jail` (the door) are for the rest of the verifier. `inside` is what runs in the
untrusted process; it imports the standard library only. This package's ``__init__`` must stay free of imports: the fork
server loads it.
"""
